"""Images on the command line are found, named, and read, without PyTorch."""

import os

import numpy as np
import pytest

from archives import pack, write_files
from classifold.errors import UserError
from classifold.runtime import parallel
from classifold.serving import new_images
from classifold.serving.new_images import open_images

TWICE = ": must be given once, got 2 times"
SETTINGS = {"size": 8, "resize": "box", "background": (255, 255, 255), "ranges": {}}


@pytest.fixture
def image(encode):
    return encode(np.full((4, 4, 3), (10, 20, 30), np.uint8))


def test_images_come_in_the_order_of_the_arguments_with_their_names(tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    names = ("z.png", "in/b.png", "in/deep/a.JPG", "in/.hidden.png", "in/notes.md", "noname")
    write_files(tmp_path, dict.fromkeys(names, image))
    (tmp_path / "linked").symlink_to("in")
    (tmp_path / "in/link").symlink_to("..")
    with open_images(["z.png", "./in", "noname"], ingested=tmp_path) as opened:
        assert opened.names == ["z.png", "in/b.png", "in/deep/a.JPG", "in/link", "noname"]
        outcomes = list(opened.pixels(**SETTINGS))
    link = outcomes.pop(3)
    assert link.reason == "a link to a folder; such links are not followed"
    for pixels, *_ in outcomes:
        assert pixels.shape == (8, 8, 3)
        assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]


def test_names_are_relative_to_the_folder_that_the_user_is_in(tmp_path, image):
    write_files(tmp_path, {"sub/a.png": image})
    for given, name in (("a.png", "a.png"), ("../sub", "../sub/a.png")):
        with open_images([given], ingested=tmp_path, start=tmp_path / "sub") as opened:
            assert opened.names == [name]
            assert [pixels.reason for pixels in opened.pixels(**SETTINGS)] == [None]
    with pytest.raises(UserError, match=r"^b\.png: no such file"):
        open_images(["b.png"], ingested=tmp_path, start=tmp_path / "sub").__enter__()


def test_bytes_of_names_that_are_not_unicode_are_escaped(tmp_path, image):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(image)
    with open_images([path], ingested=tmp_path) as opened:
        assert opened.names == [f"{tmp_path}/caf\\xe9.png"]
        (image,) = opened.pixels(**SETTINGS)
        assert image.pixels is not None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        (["empty"], "empty: none of its 0 files is an image"),
        (["a.png", "a.png"], f"a.png{TWICE}"),
        (["./a.png", "a.png"], f"a.png{TWICE}"),
        (["in", "in/b.png"], f"in/b.png{TWICE}"),
        (["cut.zip"], "cut.zip: damaged zip archive"),
        (["unlabelled"], "there is no image table.*'dvc repro ingest'"),
    ],
)
def test_wrong_arguments_are_one_message(tmp_path, monkeypatch, image, images, message):
    monkeypatch.chdir(tmp_path)
    content = pack(tmp_path / "cut.zip", {"a.png": image}, "zip").read_bytes()
    files = {"empty/": b"", "a.png": image, "in/b.png": image, "cut.zip": content[:-30]}
    write_files(tmp_path, files)
    with (
        pytest.raises(UserError, match=message),
        open_images(images, ingested=tmp_path / "data/ingested"),
    ):
        pass


def test_a_folder_named_unlabelled_is_given_with_a_dot(tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, {"unlabelled/a.png": image})
    with open_images(["./unlabelled"], ingested=tmp_path) as opened:
        assert opened.names == ["unlabelled/a.png"]


def ends_the_process(read, **settings):
    os._exit(1)


def test_an_image_that_ends_its_process_has_a_reason(tmp_path, monkeypatch, image):
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.setattr(new_images, "decode_pixels", ends_the_process)
    (tmp_path / "a.png").write_bytes(image)
    with open_images([tmp_path / "a.png"], ingested=tmp_path) as opened:
        (image,) = opened.pixels(**SETTINGS)
    assert "it ended the process that decoded it" in image.reason
