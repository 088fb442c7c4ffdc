"""Read the layouts `torchvision:<Class>`: a data set of torchvision, downloaded if needed."""

import inspect
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from PIL import Image
from torchvision import datasets

from classifold.data.image_table import TEST, UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import BYTES_OF_HEAD, NotRead
from classifold.ingest.layout import Source, SourceImage, settle_splits

# Names of splits in torchvision, and ours.
SPLITS = {
    "train": "train",
    "trainval": "train",
    "val": "validation",
    "valid": "validation",
    "test": TEST,
    "unlabeled": UNLABELED,
}
NO_LABEL = -1


class _Dataset(Protocol):
    """The interface of the data sets of torchvision."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]: ...


class TorchvisionTree:
    """The images of a data set as files: the files on disk if there are any, else PNG."""

    def __init__(self, splits: dict[str | None, _Dataset]) -> None:
        self.refused: list[NotRead] = []
        self.empty_folders: list[str] = []
        self._images: dict[str, tuple[_Dataset, int]] = {}
        for split, dataset in splits.items():
            prefix = f"{split}/" if split else ""
            for index in range(len(dataset)):
                self._images[f"{prefix}{index:08}.png"] = (dataset, index)

    def names(self) -> list[str]:
        """List the ids of all images: split and position."""
        return list(self._images)

    def read(self, name: str) -> bytes:
        """Read the file of one image."""
        dataset, index = self._images[name]
        if isinstance(dataset, datasets.DatasetFolder):
            return Path(dataset.samples[index][0]).read_bytes()
        try:
            with _no_pickle(type(dataset).__name__):
                image = dataset[index][0]
        except Exception as error:  # damaged files make readers raise any exception
            raise OSError(f"{type(error).__name__}: {error}") from None
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def head(self, name: str) -> bytes:
        """Read the first bytes of one file."""
        return self.read(name)[:BYTES_OF_HEAD]


def open_dataset(name: str, path: Path) -> tuple[TorchvisionTree, Source]:
    """Open all splits of a data set; files that are not in `path` are downloaded.

    Args:
        name: a class of `torchvision.datasets` whose items are an image and a class.
        path: an existing folder, torchvision's `root`.

    Raises:
        UserError: if there is no such class, it is not for classification, would unpickle its
            files, or cannot be downloaded.
    """
    make = getattr(datasets, name, None)
    if not (inspect.isclass(make) and issubclass(make, datasets.VisionDataset)):
        known = [key for key in datasets.__all__ if key[0].isupper()]
        raise UserError(
            f"dataset.layout: torchvision has no data set {name}. Choose one of {', '.join(known)}."
        )
    with _no_pickle(name):
        splits = _open_splits(make, path)
    tree = TorchvisionTree(splits)
    images: list[SourceImage] = []
    names = iter(tree.names())
    for split, dataset in splits.items():
        classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
        for target in _targets(dataset, name):
            if target == NO_LABEL:
                images.append(SourceImage(next(names), (), UNLABELED))
            else:
                label = str(classes[target]) if classes else str(target)
                images.append(SourceImage(next(names), (label,), split))
    remarks = [f"official splits: {', '.join(map(str, splits))}"] if None not in splits else []
    return tree, Source(f"torchvision:{name}", settle_splits(images, remarks), [], remarks)


def _open_splits(make: type, path: Path) -> dict[str | None, _Dataset]:
    """Open every split that a class of torchvision has."""
    takes = inspect.signature(make).parameters
    options: dict[str, Any] = {}
    if "root" in takes:
        options["root"] = path
    if "download" in takes:
        options["download"] = True  # which does nothing where the files are present and complete
    choices: list[tuple[str, dict[str, Any]]]
    if "train" in takes:
        choices = [("train", {"train": True}), (TEST, {"train": False})]
    elif "split" in takes:
        choices = [(split, {"split": name}) for name, split in SPLITS.items()]
    else:
        choices = []
    splits: dict[str | None, _Dataset] = {}
    refusals = []
    for split, choice in choices:
        if split in splits:
            continue  # "trainval" repeats the images of "train" and "val"
        try:
            splits[split] = _open(make, options | choice)
        except UserError:
            raise
        except ValueError as error:  # "Unknown value 'val' for argument split"
            refusals.append(str(error))
    if choices and not splits:
        raise UserError(
            f"dataset.layout: torchvision's {make.__name__} has no usual split: {refusals[0]}"
        )
    return splits or {None: _open(make, options)}


def _open(make: type, options: dict[str, Any]) -> _Dataset:
    try:
        dataset: _Dataset = make(**options)
    except (OSError, RuntimeError, TypeError) as error:
        raise UserError(
            f"dataset.path: torchvision's {make.__name__} could neither be opened nor downloaded: "
            f"{error}"
        ) from None
    return dataset


def _targets(dataset: _Dataset, name: str) -> list[int]:
    """Read the class of each image, without decoding images where the data set lists them."""
    for attribute in ("targets", "labels", "_labels"):
        targets = getattr(dataset, attribute, None)
        if targets is not None and len(targets) == len(dataset):
            break
    else:
        with _no_pickle(name):
            targets = [dataset[index][1] for index in range(len(dataset))]
    try:
        return [int(target) for target in targets]
    except (TypeError, ValueError):
        raise UserError(
            f"dataset.layout: torchvision's {name} does not have one class per image. Choose "
            "another data set."
        ) from None


@contextmanager
def _no_pickle(name: str) -> Iterator[None]:
    """Refuse pickles in torchvision, since loading one can run any code."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise UserError(
            f"dataset.layout: torchvision's {name} is stored as Python pickles, which can run code "
            "when they are loaded. Save its images into one folder per class and use that."
        )

    loaders = {loader: getattr(pickle, loader) for loader in ("load", "loads", "Unpickler")}
    try:
        for loader in loaders:
            setattr(pickle, loader, refuse)
        yield
    finally:
        for loader, original in loaders.items():
            setattr(pickle, loader, original)
