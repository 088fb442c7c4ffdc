"""Slices of the test images: by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.image_table import write_table
from classifold.data.pixels import mean_luma
from classifold.evaluation.slices import brightness, find_slices
from classifold.filtering.files import read_candidates, write_selection
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import select
from synthetic_run import EMPTY_ROW

SETTINGS = {
    "size": {"rule": "modal", "tolerance": 0},
    "duplicates": {"exact": "drop", "near": "off", "distance": 0, "conflicting": "drop"},
}
NONE = {"exact": "off", "near": "off", "distance": 0, "conflicting": "off"}


def row(image_id, label, *, size=8, **fields):
    image = {"bytes": b"", "path": image_id}
    of_all = {"id": image_id, "image": image, "labels": [label], "width": size, "height": size}
    hashes = {"sha256": image_id, "perceptual_hash": "0" * 16}
    return EMPTY_ROW | of_all | hashes | {"mode": "RGB"} | fields


TRAIN = [
    row("train/1", "cat", sha256="one"),
    row("train/2", "dog", sha256="two"),
    row("train/3", "dog", sha256="three"),
    row("train/4", "cat", sha256="four"),
]
TEST = [
    row("test/copy", "cat", split="test", sha256="one", mode="L"),
    row("test/conflict", "cat", split="test", sha256="two"),
    row("test/large", "dog", split="test", size=9, sha256="three", mode="P"),
    row("test/new", "dog", split="test"),
]


@pytest.fixture
def slices_of(tmp_path):
    """Filter a table, and slice some of its images."""

    def find(rows, ids, settings=SETTINGS):
        write_table(tmp_path, rows)
        selection = select(read_candidates(tmp_path), **settings)
        write_selection(tmp_path, selection)
        found = find_slices(
            ids,
            np.zeros(len(ids)),
            ingested=tmp_path,
            duplicates=tmp_path / "duplicates.csv",
            modal_size=selection_metrics(selection)["modal_size"],
            settings=settings,
        )
        return {
            kind: {value: [ids[i] for i in np.flatnonzero(chosen)] for value, chosen in v.items()}
            for kind, v in found.items()
        }, selection

    return find


def test_an_official_test_split_is_sliced_by_the_result_of_the_filter(slices_of):
    slices, selection = slices_of(TRAIN + TEST, [row["id"] for row in TEST])
    assert slices["filter"] == {
        "kept": ["test/new"],
        "size": ["test/large"],
        "duplicate": ["test/copy"],
        "conflicting_labels": ["test/conflict"],
    }
    assert slices["mode"] == {
        "L": ["test/copy"],
        "P": ["test/large"],
        "RGB": ["test/conflict", "test/new"],
    }
    # The image with conflicting labels was excluded from training: models have not seen its pixels.
    duplicates = slices["duplicates"]["duplicate of a training image"]
    assert duplicates == ["test/copy", "test/large"]
    assert len(duplicates) == selection_metrics(selection)["n_test_images_with_duplicates"]


def test_rules_of_the_filter_that_are_off_make_no_slice(slices_of):
    settings = {"size": {"rule": "none", "tolerance": 0}, "duplicates": NONE}
    slices, _ = slices_of(TRAIN + TEST, [row["id"] for row in TEST], settings)
    assert list(slices["filter"]) == ["kept"]
    assert list(slices["duplicates"]) == ["no duplicate"]


def test_without_an_official_test_split_there_are_no_slices_of_the_filter(slices_of):
    slices, _ = slices_of(TRAIN, ["train/3", "train/4"])
    assert list(slices) == ["brightness", "mode"]


def test_without_test_images_there_are_no_slices(slices_of):
    slices, _ = slices_of(TRAIN, [])
    assert slices == {"brightness": {}, "mode": {}}


def test_brightness_by_hand():
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 200, 200)]
    pixels = np.array(colors, np.uint8)[:, None, None].repeat(2, axis=1)
    luma = mean_luma(pixels)
    np.testing.assert_allclose(luma, [76.245, 149.685, 29.07, 255, 0, 200])
    assert brightness(luma) == ["middle", "middle", "dark", "bright", "dark", "bright"]
    # The limits are at levels 20 and 30, which belong to the darker thirds.
    assert brightness(np.array([10, 20, 30, 40])) == ["dark", "dark", "middle", "bright"]


@given(st.integers(1, 30), st.integers(0, 1000))
def test_brighter_images_are_never_in_a_darker_third(n_images, seed):
    levels = np.random.default_rng(seed).integers(0, 8, n_images) * 30
    thirds = brightness(levels)
    rank = [("dark", "middle", "bright").index(third) for third in thirds]
    order = np.argsort(levels, kind="stable")
    assert (np.diff(np.array(rank)[order]) >= 0).all()
    assert len({third for third, level in zip(thirds, levels, strict=True) if level == 0}) <= 1
    assert max(rank.count(third) for third in range(3)) <= n_images
