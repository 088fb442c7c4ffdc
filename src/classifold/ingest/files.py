"""Sort the files of a source: images, other files, and those of systems and programs."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from classifold.ingest.entries import NotRead
from classifold.ingest.formats import EXTENSIONS, TEXT_EXTENSIONS, UNSUPPORTED_EXTENSIONS, is_image
from classifold.ingest.tree import Tree

# Folders and files of operating systems and programs, in lower case, beside hidden ones.
SYSTEM_FOLDERS = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "#snapshot", "lost+found", "$recycle.bin"),
        *("system volume information", "__pycache__"),
    )
)
SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))

IMAGE_EXTENSIONS = EXTENSIONS | UNSUPPORTED_EXTENSIONS

REASONS_SHOWN = 5

HIDDEN = "hidden, or of the operating system or a program"
NO_IMAGE = "not an image by its extension"
NO_IMAGE_BY_CONTENT = "not an image by its first bytes"


class Files(NamedTuple):
    """The files of a source, each list sorted."""

    images: list[str]
    others: list[NotRead]  # visible, and not images
    hidden: list[NotRead]

    def named(self, *extensions: str) -> list[str]:
        """List the visible files with some extensions, in lower case."""
        return [item.id for item in self.others if extension(item.id) in extensions]


def sort_files(tree: Tree) -> Files:
    """Sort the files: images have an extension of images, or an unknown one and such content."""
    files = Files([], [], [])
    folders: dict[str, bool] = {}
    for name in tree.names():
        folder, _, file = name.rpartition("/")
        if folder not in folders:
            folders[folder] = any(map(is_system_folder, folder.split("/")))
        if folders[folder] or file.startswith(".") or file.lower() in SYSTEM_FILES:
            files.hidden.append(NotRead(name, HIDDEN))
        elif (of_file := extension(file)) in IMAGE_EXTENSIONS:
            files.images.append(name)
        elif of_file in TEXT_EXTENSIONS:
            files.others.append(NotRead(name, NO_IMAGE))
        elif is_image(tree.head(name)):
            files.images.append(name)
        else:
            files.others.append(NotRead(name, NO_IMAGE_BY_CONTENT))
    return files


def has_image_extension(name: str) -> bool:
    """Check whether the extension is one of images, readable here or not."""
    return extension(name) in IMAGE_EXTENSIONS


def extension(name: str) -> str:
    """Return the extension of a file in lower case, with its dot; empty if there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") else ""


def describe_ignored(ignored: Sequence[NotRead]) -> str:
    """Count the ignored files by reason, with an example of each."""
    reasons = Counter(item.reason for item in ignored)
    examples = {item.reason: item.id for item in reversed(ignored)}
    described = [
        f"{reason} ({count:,}, such as {examples[reason]!r})"
        for reason, count in reasons.most_common(REASONS_SHOWN)
    ]
    return "; ".join(described) + ("; ..." if len(reasons) > REASONS_SHOWN else "")


def is_system_folder(name: str) -> bool:
    """Check whether a folder is hidden, or of an operating system or a program."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def without(files: Iterable[NotRead], names: Iterable[str]) -> list[NotRead]:
    """Return the files whose names are not among `names`."""
    excluded = set(names)
    return [item for item in files if item.id not in excluded]
