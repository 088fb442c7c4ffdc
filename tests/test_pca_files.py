"""Tables and pictures of principal components."""

import numpy as np
import pytest
from PIL import Image

from classifold.analysis.pca.components import (
    CHANNELS,
    describe_too_few,
    image_components,
    pca_metrics,
    principal_components,
)
from classifold.analysis.pca.files import (
    write_components,
    write_image_components,
    write_reconstruction,
)
from classifold.data.csv_file import read_rows


def test_tables_have_every_component_and_all_of_them_reconstruct_the_picture(draw_pack, tmp_path):
    images = draw_pack(60, size=6).images
    found = principal_components(images, size=6)
    write_components(tmp_path, found, reason=None)
    write_reconstruction(tmp_path, found, images[0])
    write_image_components(tmp_path, image_components(images[0]), images[0])
    rows = read_rows(tmp_path / "explained.csv")
    assert [row["channel"] for row in rows] == [name for name in CHANNELS for _ in range(36)]
    assert float(rows[35]["explained_variance_ratio"]) == pytest.approx(1)
    assert len(read_rows(tmp_path / "image_components.csv")) == 18
    for name, size in (("components", (900, 300)), ("image_components", (600, 300))):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == size
    with Image.open(tmp_path / "reconstruction.png") as picture:
        assert picture.size == (400, 100)
        pixels = np.asarray(picture).astype(int)
    itself, _, fifty, five_hundred = np.split(pixels, 4, axis=1)  # of 36 components
    assert abs(fifty - itself).max() <= 1
    assert abs(five_hundred - itself).max() <= 1


def test_one_image_has_no_components_and_the_picture_shows_the_reason(tmp_path):
    reason = describe_too_few(1)
    assert "at least 2 training images, got 1" in str(reason)
    assert describe_too_few(2) is None
    assert pca_metrics({}, n_images=1) == {"n_images": 1}
    write_components(tmp_path, {}, reason=reason)
    assert read_rows(tmp_path / "explained.csv") == []
    with Image.open(tmp_path / "components.png") as picture:
        assert picture.width > 400
