"""Open a tree of files: a folder or an archive."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from classifold.errors import UserError
from classifold.ingest.entries import (
    BYTES_OF_HEAD,
    MAX_CHARACTERS_PER_NAME,
    TOO_LONG,
    NotRead,
    readable_id,
    refuse_too_large,
    refuse_too_many,
)
from classifold.ingest.tar_archive import TarTree, is_tar
from classifold.ingest.zip_archive import ZipTree, is_zip


class Tree(Protocol):
    """Files by their ids: POSIX paths relative to the root, in valid Unicode."""

    refused: list[NotRead]  # links, paths outside the source and other refused entries
    empty_folders: list[str]  # folders without files

    def names(self) -> list[str]:
        """List the ids of the accepted files, sorted: independent of the order on disk."""

    def read(self, name: str) -> bytes:
        """Read one file.

        Raises:
            OSError: if it cannot be read, or is too large to be read safely.
        """

    def head(self, name: str) -> bytes:
        """Read the first `BYTES_OF_HEAD` bytes of one file; none if it cannot be read."""


NO_FILE = "not a file that can be read (a broken link or a device?)"


class FolderTree:
    """The files under a folder. Links to files are followed, since DVC itself makes them."""

    def __init__(self, root: Path) -> None:
        """List the files.

        Raises:
            UserError: if there are too many.
            OSError: if a folder cannot be read.
        """
        self.root = root
        self.refused: list[NotRead] = []
        self.empty_folders: list[str] = []
        self._raw: dict[str, str] = {}  # names that are not valid Unicode
        self._names: list[str] = []
        for folder, folders, files in os.walk(root, onerror=_raise):
            prefix = "" if folder == str(root) else f"{os.path.relpath(folder, root)}/"
            if not files and not folders and prefix:
                self.empty_folders.append(readable_id(prefix.rstrip("/")))
            for name in folders:
                if (Path(folder) / name).is_symlink():
                    reason = "a link to a folder; such links are not followed"
                    self.refused.append(NotRead(readable_id(prefix + name), reason))
                    self.empty_folders.append(readable_id(prefix + name))
            for name in files:
                image_id = readable_id(prefix + name)
                if len(image_id) > MAX_CHARACTERS_PER_NAME:
                    self.refused.append(NotRead(image_id[:MAX_CHARACTERS_PER_NAME], TOO_LONG))
                    continue
                if image_id != prefix + name:
                    if image_id in self._raw or os.path.lexists(root / image_id):
                        reason = "its escaped name equals the name of another file"
                        self.refused.append(NotRead(image_id, reason))
                        continue
                    self._raw[image_id] = prefix + name
                self._names.append(image_id)
            refuse_too_many(len(self._names), where=str(root))
        self._names.sort()
        self.empty_folders.sort()

    def names(self) -> list[str]:
        """List the files, sorted."""
        return self._names

    def read(self, name: str) -> bytes:
        """Read one file."""
        return read_file(f"{self.root}/{self._raw.get(name, name)}")

    def head(self, name: str) -> bytes:
        """Read the first bytes of one file."""
        try:
            return read_file(f"{self.root}/{self._raw.get(name, name)}", max_bytes=BYTES_OF_HEAD)
        except OSError:
            return b""


def read_file(path: str, *, max_bytes: int | None = None) -> bytes:
    """Read a regular file, or its first bytes.

    Raises:
        OSError: if it cannot be read, is no regular file, or is too large to be read safely.
    """
    try:
        # Opening a pipe would block.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise OSError(f"{NO_FILE}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(NO_FILE)
        if max_bytes is not None:
            return file.read(max_bytes) or b""
        refuse_too_large(state.st_size)
        return file.readall()


@contextmanager
def open_tree(path: Path, *, scratch: Path) -> Iterator[Tree]:
    """Open the folder or the archive at `path`.

    Args:
        path: a folder, a zip or a tar archive, compressed or not.
        scratch: a folder with room for the unpacked content of a compressed tar archive.

    Raises:
        UserError: if it does not exist, is neither, or is damaged.
    """
    if path.is_dir():
        yield FolderTree(path)
    elif path.is_file() and is_zip(path):
        with closing(ZipTree(path)) as tree:
            yield tree
    elif path.is_file() and is_tar(path):
        with closing(TarTree(path, scratch=scratch)) as tree:
            yield tree
    elif path.exists():
        raise UserError(
            f"dataset.path: must be a folder, a zip or a tar archive, got {path}. Correct the "
            "path, or download the file again if it is incomplete."
        )
    else:
        raise UserError(
            f"dataset.path: {path} does not exist. Correct the path; if DVC tracks it, run "
            f"'dvc pull {path}.dvc'."
        )


def read_listed(tree: Tree, name: str) -> bytes:
    """Read a file with labels, or one that may have labels.

    Raises:
        UserError: if it cannot be read, since labels would be missing.
    """
    try:
        return tree.read(name)
    except OSError as error:
        raise UserError(
            f"dataset.path: {name} cannot be read ({error}). Fix or remove it; if it has nothing "
            "to do with labels, set dataset.layout."
        ) from None


def _raise(error: OSError) -> None:
    raise error
