"""The image table is read by the tools people have, as it is."""

import io
import os

import duckdb
import numpy as np
import polars
import pytest
from PIL import Image

from classifold.data.image_table import write_table
from classifold.data.orientation import ORIENTATION_TAG

COLORS = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
TURNED = Image.Exif()
TURNED[ORIENTATION_TAG] = 6


@pytest.fixture
def shards(tmp_path, encode):
    def row(number, color):
        name = f"class/{number}.png"
        return {
            "id": name,
            "image": {"bytes": encode(np.full((5, 4, 3), color, np.uint8), exif=TURNED)}
            | {"path": name},
            "labels": ["class", "other"][: number + 1],
            "split": None,
            "group": "patient" if number else None,
            "boxes": [{"x0": 0, "y0": 1, "x1": 2, "y1": 3}] if number else None,
            "width": 5,
            "height": 4,
            "mode": "RGB",
            "sha256": f"{number:064}",
            "perceptual_hash": f"{number:016}",
        }

    write_table(tmp_path, (row(i, color) for i, color in enumerate(COLORS)))
    return tmp_path / "images-*.parquet"


def test_hugging_face_datasets_read_it_and_decode_its_images(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets  # noqa: PLC0415 - it reads the environment

    datasets.disable_progress_bars()
    dataset = datasets.load_dataset(
        "parquet", data_files=str(shards), split="train", cache_dir=str(tmp_path / "cache")
    ).cast_column("image", datasets.Image())
    assert dataset[1]["labels"] == ["class", "other"]
    assert [image.getpixel((0, 0)) for image in dataset["image"]] == COLORS
    assert [image.size for image in dataset["image"]] == [(5, 4)] * 3  # upright


def test_polars_reads_it(shards):
    frame = polars.read_parquet(shards)
    assert frame["width"].to_list() == [5, 5, 5]
    first = frame["image"].struct.field("bytes")[0]
    assert Image.open(io.BytesIO(first)).getpixel((0, 0)) == COLORS[0]


def test_duckdb_queries_it(shards):
    query = "select image.path, len(labels), boxes[1].y1 from read_parquet(?) order by id"
    rows = duckdb.connect().execute(query, [os.fspath(shards)]).fetchall()
    assert rows == [("class/0.png", 1, None), ("class/1.png", 2, 3), ("class/2.png", 2, 3)]
