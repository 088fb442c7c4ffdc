"""Data sets of torchvision: their splits and classes; no pickle is loaded."""

import io
import pickle
import struct
import urllib.error
import urllib.request
from collections import Counter
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from classifold.data.image_table import iter_columns, iter_images
from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest
from evil_pickle import Evil


def find(name, tmp_path, task="single"):
    with open_source(
        str(tmp_path), layout=f"torchvision:{name}", task=task, scratch=tmp_path
    ) as found:
        return found


@pytest.fixture
def plant(monkeypatch):
    """Put a class among torchvision's."""

    def among(make):
        monkeypatch.setattr(datasets, make.__name__, make, raising=False)

    return among


class Drawn(datasets.VisionDataset):
    """Two plain images of two classes."""

    classes = ("cat", "dog")
    targets = (0, 1)

    def __init__(self, root):
        super().__init__(root)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return Image.new("RGB", (4, 3), (0, 100 * index, 0)), self.targets[index]


def test_fake_data_is_read_pixel_by_pixel(tmp_path, plant):
    class FakeData(datasets.FakeData):
        def __init__(self):
            super().__init__(size=12, image_size=(3, 5, 7), num_classes=3)

    plant(FakeData)
    tree, source = find("FakeData", tmp_path)
    reference = FakeData()
    assert source.layout == "torchvision:FakeData"
    assert [image.id for image in source.images] == tree.names()
    for index, image in enumerate(source.images):
        pixels, target = reference[index]
        assert image.labels == (str(int(target)),)
        assert image.split is None
        np.testing.assert_array_equal(Image.open(io.BytesIO(tree.read(image.id))), pixels)


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path):
    """Random digits in MNIST's own format: 40 to train on, 10 for the test."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    digits = {}
    for name, n_images in [("train", 40), ("t10k", 10)]:
        images = np.random.default_rng(n_images).integers(0, 256, (n_images, 28, 28), np.uint8)
        write_idx(raw / f"{name}-images-idx3-ubyte", images)
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(n_images) % 10)
        digits[name] = images
    return tmp_path, digits


def test_mnist_is_ingested_with_its_official_test_split(tmp_path, mnist):
    root, digits = mnist
    folder = tmp_path / "ingested"
    folder.mkdir()
    tree, source = find("MNIST", root)
    counts = ingest(
        tree, source, folder, background=(255, 255, 255), max_unreadable={"fraction": 0, "count": 0}
    )
    assert counts["images_per_split"] == {"test": 10, "train": 40}
    assert set(counts["images_per_class"].values()) == {5}
    assert counts["converted"]["grayscale"] == counts["n_images"] == 50
    assert read_json(folder / "classes.json")[7] == "7 - seven"
    rows = {row["id"]: row for row in iter_columns(folder, ["id", "labels", "split"])}
    assert rows["test/00000003.png"] == {
        "id": "test/00000003.png", "labels": ["3 - three"], "split": "test",
    }  # fmt: skip
    stored = dict(iter_images(folder, rows))
    image = np.asarray(Image.open(io.BytesIO(stored["train/00000039.png"])))
    np.testing.assert_array_equal(image, np.repeat(digits["train"][39][..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val"), {"train", "test"}),
        (("train", "test"), {"train", "test"}),
        (("train", "val", "test"), {"train", "validation", "test"}),
        (("train", "valid", "test"), {"train", "validation", "test"}),
        (("trainval", "test"), {"train", "test"}),
        (("train", "val", "trainval", "test"), {"train", "validation", "test"}),
        (("train", "test", "unlabeled"), {"train", "test", "unlabelled"}),
    ],
)
def test_every_split_is_found_and_no_image_is_in_two(tmp_path, plant, names, splits):
    colors = {"train": 10, "val": 20, "valid": 30, "test": 40, "unlabeled": 50}

    class Planted(Drawn):
        def __init__(self, root, split):
            super().__init__(root)
            if split not in names:
                raise ValueError(f"Unknown value {split!r} for argument split")
            ours = ["train", "val"] if split == "trainval" else [split]
            self.colors = [colors[each] + target for each in ours for target in range(2)]
            self.targets = [-1 if split == "unlabeled" else c % 2 for c in self.colors]

        def __getitem__(self, index):
            return Image.new("L", (2, 2), self.colors[index]), self.targets[index]

    plant(Planted)
    tree, source = find("Planted", tmp_path)
    assert {image.split for image in source.images} == splits
    for image in source.images:
        assert (image.labels == ()) == (image.split == "unlabelled")
    files = Counter(tree.read(image.id) for image in source.images)
    assert set(files.values()) == {1}
    assert len(files) == 2 * len(set(names) - {"trainval"}) + 4 * (names == ("trainval", "test"))


def test_images_that_lie_in_files_keep_their_bytes(tmp_path, encode):
    for name, color in [("cat", "red"), ("dog", "blue")]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(encode(Image.new("RGB", (3, 3), color), "JPEG"))
    tree, source = find("ImageFolder", tmp_path)
    assert [image.labels for image in source.images] == [("cat",), ("dog",)]
    assert tree.read(source.images[1].id) == (tmp_path / "dog" / "1.jpg").read_bytes()


def test_an_image_that_its_reader_cannot_read_is_an_error_of_that_file_alone(tmp_path, plant):
    class Planted(Drawn):
        def __getitem__(self, index):
            if index == 1:
                raise IndexError("beyond the file's end")
            return super().__getitem__(index)

    plant(Planted)
    tree, _ = find("Planted", tmp_path)
    first, second = tree.names()
    assert tree.read(first)
    with pytest.raises(OSError, match="IndexError: beyond the file's end"):
        tree.read(second)


@pytest.fixture
def evil(tmp_path):
    """A pickle in the data set that must not be read."""
    path, mark = tmp_path / "data.pkl", tmp_path / "owned"
    path.write_bytes(pickle.dumps(Evil(mark)))
    yield path
    assert not mark.exists()


READERS = {
    "load": lambda file: pickle.load(file),  # noqa: PLW0108 - looked up when it is called
    "loads": lambda file: pickle.loads(file.read()),
    "Unpickler": lambda file: pickle.Unpickler(file).load(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.promise("torchvision-pickles")
def test_a_data_set_of_pickles_is_refused_before_it_runs_anything(tmp_path, plant, evil, reader):
    class Planted(Drawn):
        def __init__(self, root):
            super().__init__(root)
            with evil.open("rb") as file:
                READERS[reader](file)

    plant(Planted)
    with pytest.raises(UserError, match=r"Planted is stored as Python pickles.* folder per class"):
        find("Planted", tmp_path)
    assert pickle.loads(pickle.dumps("others may")) == "others may"


@pytest.mark.parametrize("listed", [True, False])
def test_a_pickle_an_image_is_kept_in_is_not_read_either(tmp_path, plant, evil, listed):

    class Planted(Drawn):
        targets = (0, 1) if listed else None

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return pickle.loads(evil.read_bytes()), index

    plant(Planted)
    with pytest.raises((UserError, OSError), match="is stored as Python pickles"):
        tree, source = find("Planted", tmp_path)
        tree.read(source.images[0].id)


@pytest.mark.promise("torchvision-pickles")
def test_cifar_is_pickles_and_refused(tmp_path, plant, evil):
    class CIFAR10(datasets.CIFAR10):
        def _check_integrity(self):
            return True  # the files are planted, not downloaded

        def download(self):
            pass

    plant(CIFAR10)
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    evil.rename(folder / "data_batch_1")
    with pytest.raises(UserError, match="CIFAR10 is stored as Python pickles"):
        find("CIFAR10", tmp_path)


@pytest.mark.parametrize("name", ["Nonsense", "folder", "os", "wrap_dataset_for_transforms_v2", ""])
def test_an_unknown_class_of_torchvision_is_an_error_that_lists_the_known_ones(tmp_path, name):
    message = rf"dataset\.layout: torchvision has no data set {name}\. .*MNIST"
    with pytest.raises(UserError, match=message):
        find(name, tmp_path)


@pytest.mark.parametrize("name", ["MNIST", "ImageNet"])  # the second cannot be downloaded at all
def test_a_failed_download_is_an_error(tmp_path, monkeypatch, name):
    offline = Mock(side_effect=urllib.error.URLError("no route to host"))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(UserError, match=rf"dataset\.path: .*{name} could neither be opened"):
        find(name, tmp_path)


@pytest.mark.parametrize("target", ["a caption", (1, 2), None])
def test_a_data_set_without_one_class_per_image_is_an_error(tmp_path, plant, target):
    class Planted(Drawn):
        targets = (target, target)

    plant(Planted)
    with pytest.raises(UserError, match="Planted does not have one class per image"):
        find("Planted", tmp_path)


def test_a_data_set_without_a_usual_split_is_an_error(tmp_path, plant):
    class Planted(Drawn):
        def __init__(self, root, split):
            raise ValueError(f"Unknown value {split!r} for argument split")

    plant(Planted)
    with pytest.raises(UserError, match="Planted has no usual split: Unknown value 'train'"):
        find("Planted", tmp_path)
