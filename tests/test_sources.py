"""What lies in a folder or an archive, and what becomes of it in the image table."""

import io
import random
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifold.csv_file import read_rows
from classifold.errors import UserError
from classifold.metrics_file import read_json
from classifold.pixels import rgb_pixels
from classifold.sources import tree as tree_module
from classifold.sources.folder import find_images
from classifold.sources.ingestion import ingest
from classifold.sources.tree import open_tree
from classifold.table import iter_images, read_columns

REAL = Path(__file__).parents[1].parent / "shared" / "data"

FILES = {"cat/2.png": b"two", "cat/10.png": b"ten", "dog/deep/er/ü.png": b"", "README": b"text"}


@pytest.fixture
def as_folder(tmp_path):
    def lay_out(files):
        for name, content in files.items():
            path = tmp_path / "source" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "source"

    return lay_out


@pytest.fixture
def as_zip(tmp_path):
    def pack(files):
        with zipfile.ZipFile(tmp_path / "source.zip", "w") as archive:
            archive.mkdir("empty")
            for name, content in files.items():
                archive.writestr(name, content)
        return tmp_path / "source.zip"

    return pack


def test_a_folder_and_its_archive_hold_the_same_files_in_the_same_order(as_folder, as_zip):
    with open_tree(as_folder(FILES)) as folder, open_tree(as_zip(FILES)) as archive:
        assert folder.names() == archive.names() == sorted(FILES)
        for tree in (folder, archive):
            assert {name: tree.read(name) for name in tree.names()} == FILES


def test_nothing_is_written_where_an_archives_names_point(tmp_path, as_zip):
    path = as_zip({"../outside.png": b"x", "/absolute.png": b"y"})
    before = sorted(tmp_path.rglob("*"))
    with open_tree(path) as archive:
        assert sorted(archive.read(name) for name in archive.names()) == [b"x", b"y"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_entry_is_an_error_of_that_file_alone(as_zip):
    path = as_zip({"a.png": b"content of a", "b.png": b"content of b"})
    path.write_bytes(path.read_bytes().replace(b"content of a", b"CONTENT of a"))
    with open_tree(path) as archive:
        with pytest.raises(OSError, match="BadZipFile: Bad CRC-32"):
            archive.read("a.png")
        assert archive.read("b.png") == b"content of b"


def test_files_too_large_to_be_read_safely_are_refused(as_folder, as_zip, monkeypatch):
    monkeypatch.setattr(tree_module, "MOST_BYTES_A_FILE", 2)
    for path in (as_folder(FILES), as_zip(FILES)):
        with open_tree(path) as tree:
            with pytest.raises(OSError, match="3 bytes; the most read from one file is 2"):
                tree.read("cat/2.png")
            assert tree.read("dog/deep/er/ü.png") == b""


def test_a_broken_link_is_listed_and_cannot_be_read(as_folder):
    root = as_folder(FILES)
    (root / "cat" / "link.png").symlink_to("nowhere.png")
    with open_tree(root) as tree:
        assert "cat/link.png" in tree.names()
        with pytest.raises(OSError, match="broken link"):
            tree.read("cat/link.png")


def test_a_path_to_nothing_says_what_to_do(tmp_path):
    with (
        pytest.raises(UserError, match=r"dataset.path names .* does not exist; .*dvc pull"),
        open_tree(tmp_path / "nowhere"),
    ):
        pass


def test_a_file_that_is_no_archive_says_what_to_do(tmp_path):
    (tmp_path / "half.zip").write_bytes(b"PK\x03\x04 and then the line broke")
    with (
        pytest.raises(
            UserError, match=r"dataset.path must be a folder or a zip archive, .*neither"
        ),
        open_tree(tmp_path / "half.zip"),
    ):
        pass


def labels_of(names):
    return {image.id: image.labels for image in find_images(names, where="here").images}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(
            ["cat/1.png", "dog/2.JPG"],
            {"cat/1.png": ["cat"], "dog/2.JPG": ["dog"]},
            id="one folder a class",
        ),
        pytest.param(
            ["data/pets/cat/1.png", "data/pets/dog/2.png"],
            {"data/pets/cat/1.png": ["cat"], "data/pets/dog/2.png": ["dog"]},
            id="wrapped twice",
        ),
        pytest.param(
            ["cat/1.png", "cat/tabby/2.png", "dog/x/y/3.png"],
            {"cat/1.png": ["cat"], "cat/tabby/2.png": ["cat"], "dog/x/y/3.png": ["dog"]},
            id="deeper folders belong to their class",
        ),
        pytest.param(
            ["cat/1.png", "dog/2.png", "unlabelled/3.png"],
            {"cat/1.png": ["cat"], "dog/2.png": ["dog"], "unlabelled/3.png": []},
            id="unlabelled",
        ),
        pytest.param(
            [
                "cat/1.png",
                "dog/2.png",
                "cat/notes.txt",
                "README",
                ".DS_Store",
                "cat/._1.png",
                "__MACOSX/cat/1.png",
                ".git/dog/2.png",
            ],
            {"cat/1.png": ["cat"], "dog/2.png": ["dog"]},
            id="what is no image, and what systems leave behind",
        ),
    ],
)
def test_the_folder_names_the_class(names, expected):
    assert labels_of(names) == expected


def test_all_files_are_counted_images_or_not():
    names = ["cat/1.png", "dog/2.png", "README", ".DS_Store"]
    assert find_images(names, where="here").n_files == 4


def test_unlabelled_images_say_so_as_their_part():
    parts = [image.part for image in find_images(["a/1.png", "b/1.png", "unlabelled/1.png"],
                                                 where="here").images]  # fmt: skip
    assert parts == [None, None, "unlabelled"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "dataset.path: here holds 0 files and no image among them; .* one folder a class"),
        (["cat/1.txt"], "dataset.path: here holds 1 files and no image among them"),
        (["1.png", "cat/2.png", "dog/3.png"], "1 of 3 images of here lie in no class folder, such"),
        (["cat/1.png", "cat/2.png"], r"here has images of 1 class \(cat\); .* at least two"),
        (["cat/1.png", "unlabelled/2.png"], r"here has images of 1 class \(cat\)"),
    ],
)
def test_a_layout_that_is_no_classification_is_refused(names, message):
    with pytest.raises(UserError, match=message):
        find_images(names, where="here")


@pytest.fixture
def mixed(encode):
    """Files of every sort, by their names."""
    exif = Image.Exif()
    exif[0x0112] = 6
    red = np.full((8, 4, 3), (200, 0, 0), np.uint8)
    return {
        "cat/1.jpg": encode(red, "JPEG"),
        "cat/gray.png": encode(red[..., 0]),
        "cat/turned.jpg": encode(red, "JPEG", exif=exif),
        "dog/alpha.png": encode(Image.new("RGBA", (3, 3))),
        "dog/broken.jpg": encode(red, "JPEG")[:300],
        "dog/text.png": b"no image",
        "unlabelled/1.png": encode(red),
    }


@pytest.fixture
def ingested(tmp_path, mixed, as_folder):
    folder = tmp_path / "ingested"
    folder.mkdir()
    with open_tree(as_folder(mixed)) as tree:
        counts = ingest(tree, find_images(tree.names(), where="here").images, folder)
    return folder, counts


def test_what_ingest_found_is_counted(ingested):
    assert ingested[1] == {
        "n_images": 5,
        "n_unreadable": 2,
        "n_converted_to_rgb": 2,
        "converted": {
            "grayscale": 1,
            "palette": 0,
            "alpha": 1,
            "cmyk": 0,
            "deep": 0,
            "other": 0,
        },
        "n_turned_upright": 1,
        "n_classes": 2,
        "images_per_class": {"cat": 3, "dog": 1},
    }


def test_what_cannot_be_read_is_listed_with_the_reason(ingested):
    rows = read_rows(ingested[0] / "unreadable.csv")
    assert [row["id"] for row in rows] == ["dog/broken.jpg", "dog/text.png"]
    assert rows[1]["reason"] == "not an image in a format that is read here"
    assert rows[0]["reason"]


def test_the_table_holds_every_image_decodable_with_what_is_known_of_it(ingested, mixed):
    folder = ingested[0]
    rows = {row["id"]: row for row in read_columns(folder, ["id", "labels", "part", "mode"])}
    assert rows["cat/gray.png"] == {
        "id": "cat/gray.png",
        "labels": ["cat"],
        "part": None,
        "mode": "L",
    }
    assert rows["unlabelled/1.png"]["labels"] == []
    sizes = {row["id"]: (row["height"], row["width"])
             for row in read_columns(folder, ["id", "width", "height"])}  # fmt: skip
    images = dict(iter_images(folder, rows))
    assert images["cat/1.jpg"] == mixed["cat/1.jpg"]
    assert {name: rgb_pixels(image).shape[:2] for name, image in images.items()} == sizes
    assert sizes["cat/turned.jpg"] == (4, 8)


def test_classes_are_sorted_by_name(ingested):
    assert read_json(ingested[0] / "classes.json") == ["cat", "dog"]


def test_a_source_without_one_readable_image_is_refused(tmp_path, as_folder):
    names = ["cat/1.png", "dog/2.png"]
    with (
        open_tree(as_folder(dict.fromkeys(names, b"text"))) as tree,
        pytest.raises(UserError, match=r"none of the 2 image files could be read; .*'cat/1.png'"),
    ):
        ingest(tree, find_images(names, where="here").images, tmp_path)


def real(name):
    if not (REAL / name).is_file():
        pytest.skip(f"the real images of {name} are not beside the project")
    return REAL / name


@pytest.mark.real
def test_real_fruit_is_3580_images_of_3_classes():
    with open_tree(real("fruit.zip")) as tree:
        images = find_images(tree.names(), where="fruit.zip").images
    per_class = Counter(label for image in images for label in image.labels)
    assert len(images) == per_class.total() == 3580
    assert len(per_class) == 3


@pytest.mark.real
def test_real_fruit_is_ingested_as_pillow_alone_would_read_it(tmp_path):
    with open_tree(real("fruit.zip")) as tree:
        everything = find_images(tree.names(), where="fruit.zip").images
        sample = random.Random(0).sample(everything, 40)
        counts = ingest(tree, sample, tmp_path)
    assert counts["n_images"] == 40
    with zipfile.ZipFile(real("fruit.zip")) as archive:
        for name, encoded in iter_images(tmp_path, [image.id for image in sample]):
            expected = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
            np.testing.assert_array_equal(rgb_pixels(encoded), np.asarray(expected))
