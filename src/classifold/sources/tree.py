"""A tree of files, in a folder or in a zip archive, read without unpacking anything."""

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from classifold.errors import UserError

# A single file larger than this is refused, so that no archive entry exhausts memory.
MOST_BYTES_A_FILE = 512 * 2**20


class Tree(Protocol):
    """Files by their POSIX paths relative to the root."""

    def names(self) -> list[str]:
        """All files, sorted, so that no order of the file system matters."""

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            OSError: if it cannot be read, or is too large to be read safely.
        """


class FolderTree:
    """The files under a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(
            (Path(folder) / file).relative_to(self.root).as_posix()
            for folder, _, files in os.walk(self.root)
            for file in files
        )

    def read(self, name: str) -> bytes:
        """The content of one file."""
        path = self.root / name
        if not path.is_file():
            raise OSError("not a file that can be read (a broken link or a device?)")
        _refuse_too_large(path.stat().st_size)
        return path.read_bytes()


class ZipTree:
    """The files in a zip archive; nothing is ever written where their names say."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted({entry.filename for entry in self.archive.infolist() if not entry.is_dir()})

    def read(self, name: str) -> bytes:
        """The content of one file, its checksum verified."""
        _refuse_too_large(self.archive.getinfo(name).file_size)
        try:
            return self.archive.read(name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            # A wrong checksum, a password, an unknown compression, a cut end.
            raise OSError(f"{type(error).__name__}: {error}") from None


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Open the folder or the zip archive at `path`.

    Raises:
        UserError: if nothing is there, or it is neither.
    """
    if path.is_dir():
        yield FolderTree(path)
    elif path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield ZipTree(archive)
    elif path.exists():
        raise UserError(
            f"dataset.path must be a folder or a zip archive, and {path} is neither "
            "(a download cut short?); correct the path, or fetch the file again"
        )
    else:
        raise UserError(
            f"dataset.path names {path}, which does not exist; correct it in params.yaml, or "
            f"fetch it with 'dvc pull {path}.dvc' if it is tracked by DVC"
        )


def _refuse_too_large(n_bytes: int) -> None:
    if n_bytes > MOST_BYTES_A_FILE:
        raise OSError(f"{n_bytes:,} bytes; the most read from one file is {MOST_BYTES_A_FILE:,}")
