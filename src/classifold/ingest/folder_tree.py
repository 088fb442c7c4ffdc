"""The folders of a source, how many images they have, and what these are."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from classifold.data.image_table import UNLABELED
from classifold.errors import UserError

Path = tuple[str, ...]  # names of folders, from the root


class UncertainFoldersError(UserError):
    """Raised for folders of which it is not certain which are the classes."""


class Place(NamedTuple):
    """What the images of a folder are."""

    label: str | None  # the class; None: unlabelled
    split: str | None = None  # official split, or "unlabelled"
    group: str | None = None


NO_LABEL = Place(None, UNLABELED)


class Levels(NamedTuple):
    """What the images of each folder are, and where classes are expected."""

    places: dict[Path, Place]  # place of each folder that has images and is not ignored
    parents: set[Path]  # the folders of the class folders
    ignored: dict[Path, str]  # folders that are not read -> the reason
    splits: dict[str, str]  # folders of official splits -> split


class Folder:
    """A folder with images in it, or below it."""

    def __init__(self, path: Path = ()) -> None:
        self.path = path
        self.n_images = 0  # directly in it
        self.example = ""  # name of one of these images
        self.folders: dict[str, Folder] = {}
        self.split_level: int | None = None  # which part of the path is an official split

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path[-1] if self.path else ""

    def walk(self) -> Iterator["Folder"]:
        """Generate this folder and all below it."""
        stack = [self]
        while stack:
            folder = stack.pop()
            yield folder
            stack.extend(folder.folders.values())

    def total(self) -> int:
        """Count the images in it and below it."""
        return sum(folder.n_images for folder in self.walk())


def folder_tree(images: Iterable[str]) -> Folder:
    """Count the images (POSIX paths) in each folder; folders without images are not included."""
    root = Folder()
    names: dict[str, list[str]] = {}
    for image in images:
        parent, _, name = image.rpartition("/")
        names.setdefault(parent, []).append(name)
    for parent, inside in names.items():
        folder = root
        for name in parent.split("/") if parent else ():
            if name not in folder.folders:
                folder.folders[name] = Folder((*folder.path, name))
            folder = folder.folders[name]
        folder.n_images, folder.example = len(inside), inside[0]
    return root


def skip_wrapping(folder: Folder, *, keep: Iterable[str] = ()) -> Folder:
    """Skip folders that have no image themselves and one folder of folders (`fruit/fruit/…`).

    Args:
        folder: where to start.
        keep: names of folders that are not skipped, since they are classes.
    """
    kept = set(keep)
    while not folder.n_images and len(folder.folders) == 1:
        [inner] = folder.folders.values()
        if not inner.folders or inner.name in kept:
            break
        folder = inner
    return folder
