"""Every file becomes a row of the table, or a row of unreadable.csv with the reason."""

import os
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from archives import member, pack, write_files
from classifold.data.csv_file import read_rows
from classifold.data.image_table import SCHEMA, iter_columns, iter_images
from classifold.data.json_file import read_json
from classifold.data.orientation import ORIENTATION_TAG
from classifold.data.pixels import rgb_pixels
from classifold.errors import UserError
from classifold.ingest import ingestion
from classifold.ingest.formats import UNSUPPORTED_EXTENSIONS
from classifold.pictures.thumbnails import open_images
from classifold.runtime import parallel
from ingested import ingest_all

RED = np.full((8, 4, 3), (200, 0, 0), np.uint8)


@pytest.fixture
def read_all(tmp_path):
    """Ingest a folder, an archive, or files laid out in a folder."""

    def run(files, **options):
        path = files
        if isinstance(files, dict):
            path = tmp_path / "source"
            write_files(path, files)
        return tmp_path / "ingested", ingest_all(path, tmp_path / "ingested", **options)

    return run


@pytest.fixture
def mixed(encode):
    """Files of every sort, by their names."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    return {
        "cat/1.jpg": encode(RED, "JPEG"),
        "cat/gray.png": encode(RED[..., 0]),
        "cat/turned.jpg": encode(RED, "JPEG", exif=exif),
        "cat/notes.md": b"about cats",
        "dog/alpha.png": encode(Image.new("RGBA", (3, 3))),
        "dog/broken.jpg": encode(RED, "JPEG")[:300],
        "dog/text.png": b"no image",
        "dog/phone.heic": b"\0\0\0\x18ftypheic",
        "dog/turning.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "unlabelled/1.png": encode(RED),
    }


def test_images_and_conversions_are_counted(read_all, mixed):
    folder, counts = read_all(mixed)
    converted = dict.fromkeys(("grayscale", "palette", "alpha"), 1)
    assert counts == {
        "n_files": 10,
        "n_images": 6,
        "n_unreadable": 3,
        "n_ignored": 1,
        "n_labels_without_image": 0,
        "n_unlabelled": 1,
        "n_converted_to_rgb": 3,
        "converted": converted | {"cmyk": 0, "deep": 0, "other": 0},
        "n_turned_upright": 1,
        "n_animated": 1,
        "n_classes": 2,
        "images_per_class": {"cat": 3, "dog": 2},
        "unreadable_per_class": {"cat": 0, "dog": 3},
        "images_per_split": {"unlabelled": 1},
    }
    plotted = {row["kind"]: int(row["n_images"]) for row in read_rows(folder / "conversions.csv")}
    assert plotted == {"8-bit RGB": 3} | converted | {"turned upright": 1, "animated": 1}
    assert read_json(folder / "classes.json") == ["cat", "dog"]


@pytest.mark.promise("reasons")
def test_ignored_and_unreadable_files_are_listed_in_order_with_the_reason(read_all, mixed):
    folder, _ = read_all(mixed | {"cat/Thumbs.db": b"", "@eaDir/cat/1.jpg": b""})
    rows = read_rows(folder / "ignored.csv")
    assert [row["id"] for row in rows] == ["@eaDir/cat/1.jpg", "cat/Thumbs.db", "cat/notes.md"]
    assert rows[2]["reason"] == "not an image by its extension"
    rows = read_rows(folder / "unreadable.csv")
    assert [row["id"] for row in rows] == ["dog/broken.jpg", "dog/phone.heic", "dog/text.png"]
    assert rows[1]["reason"] == "HEIC or HEIF is not supported; convert it to JPEG or PNG"
    assert rows[2]["reason"] == "not an image in a supported format"


def test_the_table_has_every_decodable_image_with_its_properties(read_all, mixed):
    folder, _ = read_all(mixed)
    assert pq.read_table(folder / "images-00000.parquet").schema.equals(SCHEMA)
    rows = {row["id"]: row for row in iter_columns(folder, SCHEMA.names)}
    gray = [rows["cat/gray.png"][key] for key in ("labels", "split", "mode", "boxes")]
    assert gray == [["cat"], None, "L", None]
    unlabeled = rows["unlabelled/1.png"]
    assert (unlabeled["labels"], unlabeled["split"]) == ([], "unlabelled")
    images = dict(iter_images(folder, rows))
    assert images["cat/1.jpg"] == mixed["cat/1.jpg"]
    for name, image in images.items():
        assert rgb_pixels(image).shape == (rows[name]["height"], rows[name]["width"], 3)
    assert images["cat/turned.jpg"] == mixed["cat/turned.jpg"]
    assert (rows["cat/turned.jpg"]["width"], rows["cat/turned.jpg"]["height"]) == (8, 4)


def test_images_of_the_table_are_shown_upright(read_all, mixed):
    folder, _ = read_all(mixed)
    rows = {row["id"]: row for row in iter_columns(folder, ["id", "width", "height"])}
    for name, image in open_images(folder, rows, side=96):
        assert image.size == (rows[name]["width"], rows[name]["height"])


def test_the_background_is_visible_through_transparent_pixels(read_all, mixed):
    folder, _ = read_all(mixed, background=(1, 2, 3))
    [(_, image)] = iter_images(folder, ["dog/alpha.png"])
    assert rgb_pixels(image)[0, 0].tolist() == [1, 2, 3]


def test_several_processes_write_the_same_table_as_one(tmp_path, read_all, mixed, monkeypatch):
    folder, counts = read_all(mixed)
    folder.rename(tmp_path / "by one")
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    again, counts_again = read_all(mixed)
    assert counts_again == counts
    for file in sorted(again.iterdir()):
        assert file.read_bytes() == (tmp_path / "by one" / file.name).read_bytes()


def ends_the_process(read, **settings):
    os._exit(1)


@pytest.mark.promise("crash")
def test_an_image_that_ends_its_process_is_listed(read_all, mixed, monkeypatch):
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(ingestion, "decode_or_measure_read", ends_the_process)
    with pytest.raises(UserError, match="2 times 'it ended the process that decoded it"):
        read_all({name: mixed[name] for name in ("cat/1.jpg", "dog/alpha.png")})


def test_groups_and_several_labels_reach_the_table(read_all, encode):
    table = b"path,labels,group\na.png,cat|dog,p1\nb.png,dog,\nc.png,,\n"
    files = {f"{name}.png": encode(RED) for name in "abc"} | {"t.csv": table}
    folder, counts = read_all(files, task="multi")
    rows = list(iter_columns(folder, ["labels", "group", "split"]))
    assert [tuple(row.values()) for row in rows] == [
        (["cat", "dog"], "p1", None),
        (["dog"], None, None),
        ([], None, None),
    ]
    assert counts["images_per_class"] == {"cat": 1, "dog": 2}
    assert counts["n_unlabelled"] == 0


def test_boxes_of_tiny_imagenet_reach_the_table(read_all, encode):
    image = encode(RED, "JPEG")
    files = {
        "wnids.txt": b"n1 n2",
        "train/n1/images/a.JPEG": image,
        "train/n1/n1_boxes.txt": b"a.JPEG\t0\t1\t2\t3\n",
        "train/n2/images/b.JPEG": image,
        "val/val_annotations.txt": b"c.JPEG\tn1\t1\t1\t2\t2\n",
        "val/images/c.JPEG": image,
        "test/images/d.JPEG": image,
    }
    folder, counts = read_all(files)
    boxes = [row["boxes"] for row in iter_columns(folder, ["boxes"])]
    first = [{"x0": 0, "y0": 1, "x1": 2, "y1": 3}]
    assert boxes == [None, first, None, [{"x0": 1, "y0": 1, "x1": 2, "y1": 2}]]
    assert counts["images_per_split"] == {"test": 1, "train": 2, "unlabelled": 1}


def test_labels_without_an_image_are_listed_and_do_not_count_as_unreadable(read_all, encode):
    files = {"1.png": encode(RED), "2.png": encode(RED)}
    files["t.csv"] = b"path,label\n1.png,a\n2.png,b\n3.png,b\n"
    folder, counts = read_all(files)
    assert (counts["n_files"], counts["n_images"], counts["n_unreadable"]) == (3, 2, 0)
    assert counts["n_labels_without_image"] == 1
    reason = "t.csv lists it, but there is no such image"
    assert read_rows(folder / "labels_without_image.csv") == [{"id": "3.png", "reason": reason}]


@pytest.fixture
def in_project(tmp_path, monkeypatch):
    """The folder of a project, as for a stage that DVC starts there."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("DVC_ROOT", str(project))
    return project


def test_more_unreadable_files_than_the_maximum_are_an_error(read_all, mixed, in_project):
    message = (
        r"ingest\.max_unreadable: 4 of 10 files .* fraction 0\.3 and count 2 allow: 2 times 'HEIC "
        r".*', such as 'dog/more\.heic'; 1 times .*\. Fix or remove the files, or raise fraction "
        r"or count: all are in \.cache/unreadable\.csv\."
    )
    mixed["dog/more.heic"] = mixed["dog/phone.heic"]
    with pytest.raises(UserError, match=message):
        read_all(mixed, fraction=0.3, count=2)


@pytest.mark.parametrize(("fraction", "count"), [(3 / 9, 0), (0, 3), (0.01, 5)])
def test_the_maximum_fraction_or_count_of_unreadable_files_is_accepted(
    read_all, mixed, in_project, fraction, count
):
    stale = in_project / ".cache/unreadable.csv"
    stale.parent.mkdir()
    stale.write_text("of an earlier run")
    assert read_all(mixed, fraction=fraction, count=count)[1]["n_unreadable"] == 3
    assert not stale.exists()


def test_a_failed_run_lists_all_unreadable_files(read_all, encode, in_project):
    files = {f"cat/{number:02}.png": b"text" for number in range(30)}
    with pytest.raises(UserError, match=r"all are in \.cache/unreadable\.csv"):
        read_all(files | {"cat/0.png": encode(RED), "dog/1.png": encode(RED)}, fraction=0.5)
    rows = read_rows(in_project / ".cache/unreadable.csv")
    assert [row["id"] for row in rows] == sorted(files)
    assert {row["reason"][:12] for row in rows} == {"not an image"}


def test_a_failed_experiment_lists_unreadable_files_in_the_project(
    read_all, in_project, tmp_path, monkeypatch
):
    """DVC removes the copy of the project in which an experiment fails."""
    monkeypatch.chdir(tmp_path)
    listed = in_project / ".cache/unreadable.csv"
    with pytest.raises(UserError, match=re.escape(f"all are in {listed}.")):
        read_all({"cat/1.png": b"text", "dog/2.png": b"text"})
    assert len(read_rows(listed)) == 2


def test_a_source_or_a_class_without_a_readable_image_is_an_error(read_all, encode, in_project):
    with pytest.raises(UserError, match=r"no image can be read: 2 times .* 'cat/1\.png'"):
        read_all({"cat/1.png": b"text", "dog/2.png": b"text"})
    files = {"cat/1.png": encode(RED), "dog/2.png": b"text", "emu/3.png": encode(RED)}
    with pytest.raises(UserError, match=r"no image of class 'dog' .*'dog/2\.png'\. Fix"):
        read_all(files)


def test_images_of_unsupported_formats_are_listed_and_not_ignored(read_all, encode):
    files = {"cat/1.png": encode(RED), "dog/1.png": encode(RED)}
    files |= {f"cat/1{extension}": b"something" for extension in UNSUPPORTED_EXTENSIONS}
    assert read_all(files)[1]["n_unreadable"] == len(UNSUPPORTED_EXTENSIONS)


# A zip can hold any name but an empty one; a folder cannot hold all of them.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
)
ODD_NAMES = NAMES | st.sampled_from(
    ["..", "../x", "/x", "C:x", "a\nb", 'a"b', "<b>&", "a,b", "a;b\r", "=1+1", "."]
)
DOT = b"P6 1 1 255\n\1\2\3"


@given(st.lists(ODD_NAMES, max_size=12))
@pytest.mark.promise("not-extracted")
def test_whatever_the_names_in_a_zip_no_file_is_lost_and_none_is_written(tmp_path_factory, names):
    tmp_path = tmp_path_factory.mktemp("zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in dict.fromkeys(["cat/1.ppm", "dog/1.ppm", *(f"cat/{n}.ppm" for n in names)]):
            archive.writestr(name, DOT)
    folder = tmp_path / "ingested"
    ingest_all(tmp_path / "a.zip", folder, layout="folder")
    written = {
        *("images-00000.parquet", "classes.json", "unreadable.csv", "conversions.csv"),
        *("ranges.json", "ignored.csv", "labels_without_image.csv"),
    }
    assert {path.name for path in folder.iterdir()} == written
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "ingested"}


def test_a_folder_of_hostile_names_and_links_is_read_completely(tmp_path, read_all, encode):
    root = tmp_path / "source"
    names = [
        "line\nfeed.png", "quo\"te's.png", "<script>alert(1)</script>.png".replace("/", "\u2044"),
        "ü" * 125 + "1.png", os.fsdecode(b"\xff\xfe.png"), "=cmd|'x'!A1.png", "%s%n {0}.png",
        "\u202egnp.png", "A.png", "a.png", " .png", "\x1b[31m.png", "back\\slash.png",
    ]  # fmt: skip
    files = [*(f"cat/{name}" for name in names), "dog/1.png"]
    write_files(root, dict.fromkeys(files, encode(RED)))
    os.mkfifo(root / "dog" / "pipe.png")
    (root / "dog" / "broken.png").symlink_to("nowhere")
    (root / "dog" / "link").symlink_to("/")
    folder, counts = read_all(root)
    assert counts["images_per_class"] == {"cat": len(names), "dog": 1}
    listed = [row["id"] for row in read_rows(folder / "unreadable.csv")]
    assert listed == ["dog/broken.png", "dog/link", "dog/pipe.png"]


def test_a_hostile_tar_is_read_completely(tmp_path, read_all, encode):
    names = ["cat/1.png", "cat/1.png", "dog/1.png", os.fsdecode(b"dog/\xff\n.png"),
             "../../evil.png", "/etc/evil.png", f"cat/{'x' * 255}.png"]  # fmt: skip
    entries = [
        *((name, encode(RED)) for name in names),
        (member("dog/soft.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (member("dog/hard.png", type=tarfile.LNKTYPE, linkname="dog/1.png"), b""),
        (member("dog/pipe.png", type=tarfile.FIFOTYPE), b""),
    ]
    pack(tmp_path / "a.tar.gz", entries, "tar.gz")
    before = set(tmp_path.rglob("*"))
    folder, counts = read_all(tmp_path / "a.tar.gz")
    assert counts["images_per_class"] == {"cat": 2, "dog": 3}
    assert counts["n_files"] == 10
    assert [row["id"] for row in read_rows(folder / "unreadable.csv")] == [
        "../../evil.png", "/etc/evil.png", "cat/1.png", "dog/pipe.png", "dog/soft.png",
    ]  # fmt: skip
    assert {path.parent for path in set(tmp_path.rglob("*")) - before} == {tmp_path, folder}


@pytest.mark.real
def test_real_photos_are_read_completely_and_gray_ones_have_three_equal_channels(tmp_path):
    path = Path(__file__).parents[1].parent / "shared" / "data" / "photos.zip"
    if not path.is_file():
        pytest.skip("the real images of photos.zip are not beside the project")
    counts = ingest_all(path, tmp_path, task="multi", fraction=0)
    assert counts["converted"]["grayscale"] == 340
    gray = [row["id"] for row in iter_columns(tmp_path, ["id", "mode"]) if row["mode"] == "L"]
    for _, image in iter_images(tmp_path, gray[::20]):
        pixels = rgb_pixels(image)
        np.testing.assert_array_equal(pixels, np.repeat(pixels[..., :1], 3, axis=2))
