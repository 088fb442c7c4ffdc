"""The image table is read in the order in which it was written, for any size of shards."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from classifold.data import image_table
from classifold.data.image_table import iter_columns, iter_images, write_table
from classifold.data.pixels import load_pixels


def row(image_id, encoded=b"x" * 10, labels=("cat",)):
    return {
        "id": image_id,
        "image": {"bytes": encoded, "path": image_id},
        "labels": list(labels),
        "split": None,
        "group": None,
        "boxes": [{"x0": 0, "y0": 1, "x1": 2, "y1": 3}],
        "width": 4,
        "height": 5,
        "mode": "RGB",
        "sha256": "0" * 64,
        "perceptual_hash": "0" * 16,
    }


@pytest.fixture
def small_shards(monkeypatch):
    """Two images per row group, four per shard."""
    monkeypatch.setattr(image_table, "BYTES_PER_ROW_GROUP", 20)
    monkeypatch.setattr(image_table, "BYTES_PER_SHARD", 40)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("bytes_per_shard", [10, 20, 30, 40, 50])
def test_all_rows_are_read_in_order_from_any_number_of_shards(
    tmp_path, small_shards, monkeypatch, n_rows, bytes_per_shard
):
    monkeypatch.setattr(image_table, "BYTES_PER_SHARD", bytes_per_shard)
    rows = [row(f"{i}.png") for i in range(n_rows)]
    assert write_table(tmp_path, iter(rows)) == n_rows
    if bytes_per_shard == 40:
        assert len(list(tmp_path.iterdir())) == -(-n_rows // 4)
    assert list(iter_columns(tmp_path, list(rows[0]))) == rows


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_table(tmp_path / name, (row(f"{i}.png") for i in range(3)))
    shard = "images-00000.parquet"
    assert (tmp_path / "a" / shard).read_bytes() == (tmp_path / "b" / shard).read_bytes()


def test_a_table_without_rows_still_has_its_columns(tmp_path):
    assert write_table(tmp_path, []) == 0
    assert pq.read_table(tmp_path).schema.equals(image_table.SCHEMA)
    assert list(iter_columns(tmp_path, ["id"])) == []


def test_unlabeled_images_and_several_labels_are_distinguished(tmp_path):
    write_table(tmp_path, [row("a", labels=()), row("b", labels=("cat", "dog"))])
    labels = [found["labels"] for found in iter_columns(tmp_path, ["labels"])]
    assert labels == [[], ["cat", "dog"]]


def test_ids_of_any_characters_are_read_as_they_were_written(tmp_path, small_shards):
    ids = ["a\nb", 'quo"te', "<b>&amp;", "ü" * 300, r"caf\xe9", "a", "A", " ", "\u202e", "a,b;c\r"]
    write_table(tmp_path, map(row, ids))
    assert [found["id"] for found in iter_columns(tmp_path, ["id"])] == ids
    assert [found for found, _ in iter_images(tmp_path, ids)] == ids


def test_splits_groups_and_boxes_may_be_missing(tmp_path):
    bare = row("a") | {"split": None, "group": None, "boxes": None}
    full = row("b") | {"split": "test", "group": "patient 7", "boxes": []}
    write_table(tmp_path, [bare, full])
    assert list(iter_columns(tmp_path, list(bare))) == [bare, full]


def test_wanted_images_come_in_the_order_of_the_table(tmp_path, small_shards):
    write_table(tmp_path, (row(f"{i}.png", b"%d" % i * 10) for i in range(9)))
    found = list(iter_images(tmp_path, {"8.png", "3.png", "0.png"}))
    assert found == [("0.png", b"0" * 10), ("3.png", b"3" * 10), ("8.png", b"8" * 10)]


def test_a_missing_id_is_an_error_that_names_it(tmp_path):
    write_table(tmp_path, [row("a.png")])
    with pytest.raises(KeyError, match=r"1 ids are not in the table.* b\.png"):
        list(iter_images(tmp_path, ["a.png", "b.png"]))


def test_pixels_come_in_the_order_of_the_ids(tmp_path, encode):
    gray = {"a": 10, "b": 20, "c": 30}
    images = {name: np.full((4, 6, 3), value, np.uint8) for name, value in gray.items()}
    write_table(tmp_path, (row(name, encode(image)) for name, image in images.items()))
    pixels = load_pixels(tmp_path, ["c", "a", "b"], size=2, resize="box")
    expected = np.full((3, 2, 2, 3), 1) * np.reshape([30, 10, 20], (3, 1, 1, 1))
    np.testing.assert_array_equal(pixels, expected)
