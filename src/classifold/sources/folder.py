"""The layout `folder`: one folder a class."""

from pathlib import PurePosixPath
from typing import NamedTuple

from PIL import Image

from classifold.errors import UserError
from classifold.table import UNLABELLED


class Source(NamedTuple):
    """What a layout found: the images with their labels, and the other files."""

    images: list["SourceImage"]
    n_files: int


class SourceImage(NamedTuple):
    """One image file before it is read."""

    id: str  # POSIX path inside the source
    labels: list[str]
    part: str | None


def find_images(names: list[str], *, where: str) -> Source:
    """Find the images of a tree that holds one folder a class.

    Folders that merely wrap the classes (`fruit/cherry/1.jpg` in `fruit.zip`) are looked
    through; deeper folders belong to their class. Images in a folder named `unlabelled` have
    no label. Files that are no images by their extension, and those that systems leave
    behind (`.DS_Store`, `__MACOSX/`), are counted in `n_files` only.

    Args:
        names: POSIX paths of all files.
        where: what to call the source in messages.

    Raises:
        UserError: if there are no images, an image lies in no class folder, or there are
            fewer than two classes.
    """
    known = Image.registered_extensions()
    images = [
        path
        for path in map(PurePosixPath, names)
        if path.suffix.lower() in known
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    ]
    if not images:
        raise UserError(
            f"dataset.path: {where} holds {len(names)} files and no image among them; it "
            "should hold one folder a class with images in it"
        )
    depth = _wrapping_folders(images)
    loose = [path for path in images if len(path.parts) == depth + 1]
    if loose:
        raise UserError(
            f"dataset.path: {len(loose)} of {len(images)} images of {where} lie in no class "
            f"folder, such as {str(loose[0])!r}; move them into the folder of their class, or "
            f"into one named '{UNLABELLED}'"
        )
    classes = {path.parts[depth] for path in images} - {UNLABELLED}
    if len(classes) < 2:
        raise UserError(
            f"dataset.path: {where} has images of {len(classes)} class"
            f" ({', '.join(classes) or 'none'}); a classifier needs at least two folders"
        )
    return Source([_source_image(path, path.parts[depth]) for path in images], len(names))


def _source_image(path: PurePosixPath, folder: str) -> SourceImage:
    if folder == UNLABELLED:
        return SourceImage(str(path), labels=[], part=UNLABELLED)
    return SourceImage(str(path), labels=[folder], part=None)


def _wrapping_folders(images: list[PurePosixPath]) -> int:
    """How many levels of single folders stand above the class folders."""
    depth = 0
    while True:
        level = {path.parts[depth] for path in images}
        deeper = all(len(path.parts) > depth + 2 for path in images)
        if len(level) > 1 or not deeper:
            return depth
        depth += 1
