"""Find the images that the paths in a table mean."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from classifold.ingest.entries import composed
from classifold.ingest.files import extension, has_image_extension
from classifold.ingest.split_names import split_name

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
DRIVE = re.compile(r"[A-Za-z]:(?=/)")


class Match(NamedTuple):
    """The images that a listed path may mean, best first."""

    names: list[str]  # several: the path is ambiguous
    prefix: str | None = None  # folders of the path that do not exist here; None: all do
    absolute: bool = False  # whether it is a URL or an absolute path


class ListedPaths:
    """Finds images by relative and absolute paths, URLs, names, and ids without extension."""

    def __init__(self, images: Sequence[str]) -> None:
        # Names that differ only in composition come last, so that each is found by itself.
        self._exact = {composed(name): name for name in images} | {name: name for name in images}
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in images:
            self._by_stem[_stem(name.rpartition("/")[2])].append(name)

    def find(self, listed: str, *, folder: str, split: str | None) -> Match | None:
        """Find the image of a listed path; None if there is none.

        Exact paths count first, relative to the folder of the table or to the root. Else the path
        may end like that of one image, which may lie deeper (`1.png` is `images/1.png`), or the
        other way round (`/home/me/pets/1.png` is `1.png`). Case and the extension count only
        where several images differ in nothing else.

        Args:
            listed: the path in the table.
            folder: the folder of the table, "" for the root.
            split: the split of the table's images, if known: images in the folder of another
                split are not meant.
        """
        path, absolute, is_url = _normalized(listed)
        if not path:
            return None
        if not absolute:
            for base in (folder, ""):
                full = posixpath.normpath(posixpath.join(base, path))
                name = self._exact.get(full) or self._exact.get(composed(full))
                if name is not None:
                    return Match([name])
        found = self._similar(path, folder=folder, split=split, any_folder=is_url)
        if not found:
            return None
        best = min(rank for rank, _, _ in found)
        chosen = [(name, prefix) for rank, name, prefix in found if rank == best]
        return Match([name for name, _ in chosen], chosen[0][1], absolute)

    def has(self, listed: str, *, folder: str) -> bool:
        """Check whether a listed path means an image."""
        return self.find(listed, folder=folder, split=None) is not None

    def _similar(
        self, path: str, *, folder: str, split: str | None, any_folder: bool
    ) -> list[tuple[tuple[bool, ...], str, str | None]]:
        """List the images whose path ends alike: rank, name, folders that do not exist here."""
        *parents, file = [part for part in composed(path).split("/") if part != ".."]
        has_extension = has_image_extension(file)
        inside = composed(folder).split("/") if folder else []
        found: list[tuple[tuple[bool, ...], str, str | None]] = []
        for name in self._by_stem.get(_stem(file), ()):
            *folders, last = composed(name).split("/")
            if has_extension and last.casefold() != file.casefold():
                continue
            splits = {split_name(part).split for part in folders} - {None}
            if split is not None and splits and split not in splits:
                continue
            alike = _n_equal_at_end(parents, folders)
            prefix = None
            if alike < len(parents):
                below = folders[: len(inside)] == inside and len(folders) - len(inside)
                if alike not in (len(folders), below) and not any_folder:
                    continue
                prefix = "/".join(parents[: len(parents) - alike])
            exact = last == file or (not has_extension and last.rpartition(".")[0] == file)
            same_folders = folders[len(folders) - alike :] == parents[len(parents) - alike :]
            in_split = split is None or split in splits
            in_folder = folders[: len(inside)] == inside
            rank = (not in_split, prefix is not None, not in_folder, not (exact and same_folders))
            found.append((rank, name, prefix))
        return found


def _normalized(listed: str) -> tuple[str, bool, bool]:
    """Return a path with slashes and without `.`, whether it is absolute, and whether a URL."""
    path = listed.strip("\"'")
    is_url = bool(URL.match(path))
    if is_url:
        path = unquote(urlsplit(path).path)
    path = path.replace("\\", "/")
    absolute = is_url or bool(DRIVE.match(path)) or path.startswith(("/", "~/"))
    path = DRIVE.sub("", path).removeprefix("~")
    return "/".join(part for part in path.split("/") if part not in ("", ".")), absolute, is_url


def _stem(file: str) -> str:
    """Return the name of a file without its folder, an extension of images, and case."""
    name = composed(file)
    if has_image_extension(name):
        name = name[: -len(extension(name))]
    return name.casefold()


def _n_equal_at_end(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the equal last items, without regard to case."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one.casefold() != other.casefold():
            break
        count += 1
    return count
