"""What names of files are let in, and how they are written down."""

from pathlib import PurePosixPath
from typing import NamedTuple

from classifold.errors import UserError

# A single file larger than this is refused, so that none exhausts memory.
MAX_BYTES_PER_FILE = 256 * 2**20

# Lists of this many files take about a gigabyte of memory.
MAX_FILES = 2_000_000


# Systems allow 255 bytes a folder or file. Tables keep names in cells of one width, so that one of
# an archive's 65,535 letters would take gigabytes.
MAX_CHARACTERS_PER_NAME = 1024

TOO_LONG = f"its name has more than {MAX_CHARACTERS_PER_NAME:,} letters"


class NotRead(NamedTuple):
    """Something that is no row of the table, and why."""

    id: str
    reason: str


def readable_id(name: str) -> str:
    """Write a file's name in valid Unicode: a byte that is none is spelled out."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def entry_id(name: str) -> str | None:
    """Make the id of an archive's entry: `./cat//1.jpg` is `cat/1.jpg`.

    Returns:
        A relative POSIX path; None for a name that climbs out of its archive, or is none.
    """
    path = PurePosixPath(name)
    drive = name[1:2] == ":"
    if path.is_absolute() or drive or ".." in path.parts or not path.parts or "\0" in name:
        return None
    return readable_id(str(path))


def refuse_too_large(n_bytes: int) -> None:
    """Raise an OSError for a file that might exhaust memory."""
    if n_bytes > MAX_BYTES_PER_FILE:
        raise OSError(f"{n_bytes:,} bytes; the most read from one file is {MAX_BYTES_PER_FILE:,}")


def refuse_too_many(n_files: int, *, where: str) -> None:
    """Raise a UserError for a source of more files than memory has room for."""
    if n_files > MAX_FILES:
        raise UserError(
            f"{where} holds more than {MAX_FILES:,} files, the most that are "
            "taken in; divide it, or leave files out"
        )
