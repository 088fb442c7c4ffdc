"""Check and normalize the names and sizes of files."""

from pathlib import PurePosixPath
from typing import NamedTuple

from classifold.errors import UserError

# A single file larger than this is refused, so that none exhausts memory.
MAX_BYTES_PER_FILE = 256 * 2**20

# Lists of this many files take about a gigabyte of memory.
MAX_FILES = 2_000_000


# File systems allow 255 bytes per folder or file. Tables store names in cells of one width, so that
# one name of 65,535 characters, which an archive may have, would take gigabytes.
MAX_CHARACTERS_PER_NAME = 1024

TOO_LONG = f"its name has more than {MAX_CHARACTERS_PER_NAME:,} characters"


class NotRead(NamedTuple):
    """A file or entry that is not in the table, and the reason."""

    id: str
    reason: str


def readable_id(name: str) -> str:
    """Convert a file's name to valid Unicode: invalid bytes are escaped."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def entry_id(name: str) -> str | None:
    """Make the id of an archive's entry: `./cat//1.jpg` is `cat/1.jpg`.

    Returns:
        A relative POSIX path; None for an empty name or a path outside the archive.
    """
    path = PurePosixPath(name)
    drive = name[1:2] == ":"
    if path.is_absolute() or drive or ".." in path.parts or not path.parts or "\0" in name:
        return None
    return readable_id(str(path))


def refuse_too_large(n_bytes: int) -> None:
    """Raise an OSError for a file that might exhaust memory."""
    if n_bytes > MAX_BYTES_PER_FILE:
        raise OSError(f"{n_bytes:,} bytes; the maximum is {MAX_BYTES_PER_FILE:,}")


def refuse_too_many(n_files: int, *, where: str) -> None:
    """Raise a UserError for a source with too many files for the memory."""
    if n_files > MAX_FILES:
        raise UserError(
            f"dataset.path: {where} has more than {MAX_FILES:,} files. Divide it or remove files."
        )
