"""Files of a source are images by extension or content, or they are ignored with a reason."""

import numpy as np
import pytest
from PIL import Image

from archives import write_files
from classifold.ingest.detection import find_source
from classifold.ingest.files import sort_files
from classifold.ingest.formats import EXTENSIONS, FORMATS, UNSUPPORTED_EXTENSIONS, is_image
from classifold.ingest.tree import open_tree
from files_in_memory import FilesInMemory, find


def test_every_extension_of_a_format_that_is_read_is_an_image():
    Image.init()
    known = {name for name, file_format in Image.registered_extensions().items()
             if file_format in FORMATS}  # fmt: skip
    assert known <= EXTENSIONS
    assert not EXTENSIONS & UNSUPPORTED_EXTENSIONS


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        *((name, {}) for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")),
        *((name, {}) for name in ("SGI", "QOI", "MPO", "DDS", "JPEG2000")),
        ("JPEG2000", {"no_jp2": True}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_images_without_extension_are_recognized_by_their_content(encode, file_format, options):
    content = encode(np.zeros((9, 9, 3), np.uint8), file_format, **options)
    assert sort_files(FilesInMemory({"cat/1": content, "cat/2.dat": content})).images == [
        "cat/1",
        "cat/2.dat",
    ]


@pytest.mark.parametrize(
    "head",
    [b"", b"BM is a text about BM, long enough for a header", b"P5 is a model", b"MM* text",
     b"%PDF-1.7", b"\x7fELF\2\1\1", b"II*", b"RIFF\0\0\0\0WAVEfmt ", b"\0\0\0\x18ftypmp42"],
    ids=["empty", "BM", "P5", "MM", "PDF", "ELF", "II", "WAVE", "MP4"],
)  # fmt: skip
def test_other_files_without_extension_are_no_images(head):
    assert not is_image(head)
    [ignored] = sort_files(FilesInMemory({"cat/1": head})).others
    assert ignored == ("cat/1", "not an image by its first bytes")


def test_the_content_of_text_files_is_not_looked_at():
    class Unread(FilesInMemory):
        def head(self, name):
            raise AssertionError(name)

    files = sort_files(Unread(["cat/1.txt", "cat/1.png", "cat/1.JSON", ".git/objects/1"]))
    assert files.images == ["cat/1.png"]


def test_a_link_to_a_class_folder_is_named_since_it_is_not_followed(tmp_path):
    names = ("source/cat/1.png", "source/dog/1.png", "elsewhere/1.png")
    write_files(tmp_path, dict.fromkeys(names, b""))
    (tmp_path / "source/emu").symlink_to(tmp_path / "elsewhere")
    with open_tree(tmp_path / "source", scratch=tmp_path) as tree:
        assert tree.empty_folders == ["emu"]
        remarks = find_source(tree, layout="auto", task="single", where="here").remarks
    assert "class folders without an image: emu" in remarks


def test_a_class_name_with_a_line_break_adds_no_line_to_the_log():
    assert find(["a\nb/1.png", "c/1.png"]).remarks == ["2 classes: 'a\\nb' 1, c 1"]


def test_text_files_of_other_numbers_are_no_labels():
    source = find({"cat/1.png": b"", "dog/2.png": b"", "count.txt": b"5000"})
    assert source.layout == "folder"
    assert "count.txt: not used as labels of numbered images" in source.remarks
