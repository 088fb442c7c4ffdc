"""Check and normalize the names and sizes of files."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from classifold.errors import UserError

# A single file larger than this is refused, so that none exhausts memory.
MAX_BYTES_PER_FILE = 256 * 2**20

# Images are recognized by at most this many bytes.
BYTES_OF_HEAD = 160

# Lists of this many files take about a gigabyte of memory.
MAX_FILES = 2_000_000


# File systems allow 255 bytes per folder or file. Tables store names in cells of one width, so that
# one name of 65,535 characters, which an archive may have, would take gigabytes.
MAX_CHARACTERS_PER_NAME = 1024

# Images hardly compress. An archive that unpacks to more than this many times its size was made to
# exhaust memory or disk.
MAX_COMPRESSION_RATIO = 100
BYTES_UNPACKED_BEYOND_SUSPICION = 2**30

TOO_LONG = f"its name has more than {MAX_CHARACTERS_PER_NAME:,} characters"

OUTSIDE = "its name is a path outside the archive"
LINK = "a link; links of archives are not followed"
NOT_REGULAR = "not a regular file"
REPLACED = "replaced by a later entry of the same name"


class NotRead(NamedTuple):
    """A file or entry that is not in the table, and the reason."""

    id: str
    reason: str


def readable_id(name: str) -> str:
    """Convert a file's name to valid Unicode: invalid bytes are escaped."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def reason_to_refuse_name(name: str) -> str | None:
    """Explain why an archive's entry may not have this name; None if it may."""
    path = PurePosixPath(name)
    if "\0" in name or not path.parts:
        return "its name is empty or has a null character"
    if path.is_absolute() or name[1:2] == ":" or ".." in path.parts:
        return OUTSIDE
    return TOO_LONG if len(name) > MAX_CHARACTERS_PER_NAME else None


def entry_id(name: str) -> str:
    """Make the id of an archive's entry, a relative POSIX path: `./cat//1.jpg` is `cat/1.jpg`.

    Args:
        name: one that `reason_to_refuse_name` accepts.
    """
    return readable_id(str(PurePosixPath(name)))


def shown_name(name: str) -> str:
    """Format the name of a refused entry."""
    return readable_id(name)[:MAX_CHARACTERS_PER_NAME] or "(no name)"


def composed(name: str) -> str:
    """Compose the Unicode of a name (NFC): macOS decomposes the names of files."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def printable(name: str) -> str:
    """Quote a name that would add lines to a log."""
    return name if name.isprintable() else repr(name)


def empty_folders(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """List the folders of an archive without files in them or below them.

    Args:
        folders: the names of entries, which may end with a slash.
        files: the ids of the files.
    """
    filled: set[str] = set()
    for name in files:
        parent = name.rpartition("/")[0]
        while parent and parent not in filled:
            filled.add(parent)
            parent = parent.rpartition("/")[0]
    accepted = (name for name in folders if reason_to_refuse_name(name) is None)
    return sorted(set(map(entry_id, accepted)) - filled)


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


def refuse_too_much(total: int, *, n_bytes: int, where: Path) -> None:
    """Raise a UserError for an archive of `n_bytes` that unpacks to `total` bytes or more."""
    max_bytes = max(BYTES_UNPACKED_BEYOND_SUSPICION, MAX_COMPRESSION_RATIO * n_bytes)
    if total > max_bytes:
        raise UserError(
            f"{where}: unpacks to more than {max_bytes:,} bytes, over {MAX_COMPRESSION_RATIO} "
            "times its size, which images do not. If you trust it, unpack it yourself and use the "
            "folder."
        )
