"""Read zip archives as trees of files."""

import io
import lzma
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from classifold.errors import UserError
from classifold.ingest.entries import (
    BYTES_OF_HEAD,
    LINK,
    MAX_COMPRESSION_RATIO,
    NOT_REGULAR,
    REPLACED,
    NotRead,
    empty_folders,
    entry_id,
    reason_to_refuse_name,
    refuse_too_large,
    refuse_too_many,
    refuse_too_much,
    shown_name,
)
from classifold.ingest.tar_archive import is_tar

# Images hardly compress. A large entry that unpacks to more than MAX_COMPRESSION_RATIO times its
# size was made to exhaust memory.
BYTES_BEYOND_SUSPICION = 64 * 2**20

OVERLAPS = "it shares bytes with another entry, as in an archive made to exhaust resources"
ENCRYPTED = "encrypted; unpack the archive with its password and use the folder"

METHODS = {  # methods of compression in the specification
    **{6: "implode", 9: "deflate64", 12: "bzip2", 14: "LZMA"},
    **{93: "zstd", 95: "xz", 98: "PPMd", 99: "AES encryption"},
}

# The fields that zipfile needs to read an entry.
ENTRY_FIELDS = (
    *("header_offset", "compress_size", "file_size", "CRC"),
    *("compress_type", "flag_bits"),
)
UNKNOWN = 2**62  # a size that nothing is cut to
BYTES_OF_HEADER = 30  # at least, before the content of an entry

# An entry of the list at the end of an archive, with the fields that matter here: version needed
# and flags, and the lengths of name, extra fields and comment.
LISTED = b"PK\1\2"
LISTED_ENTRY = struct.Struct("<4x2xHH18x3H12x")
LIST_END = struct.Struct("<4s4xHHLLH")

_DAMAGES = (
    *(zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError),
    *(zlib.error, lzma.LZMAError, struct.error, OverflowError),
)


def is_zip(path: Path) -> bool:
    """Check whether a file is a zip archive, damaged or not.

    One that unpacks itself begins with a program.
    """
    with path.open("rb") as file:
        if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06"):
            return True
    return not is_tar(path) and zipfile.is_zipfile(path)


class ZipTree:
    """The files in a zip archive."""

    def __init__(self, path: Path) -> None:
        """Read the archive's list of entries.

        Raises:
            UserError: if the list is damaged or too long, or the archive was made to exhaust
                resources.
        """
        self._file = _ListingFile(path)
        try:
            self._archive = _open(self._file)
            self._list(n_bytes=path.stat().st_size)
        except BaseException:
            self._file.close()
            raise

    def _list(self, *, n_bytes: int) -> None:
        entries = self._archive.infolist()
        self.refused: list[NotRead] = []
        self._folders: list[str] = []
        self._places: dict[str, int] = {}  # id -> row of `_numbers`
        self._raw: dict[str, str] = {}  # names that differ from their ids
        self._numbers = np.empty((len(entries), len(ENTRY_FIELDS)), dtype=np.uint64)
        for row, entry in enumerate(entries):
            # An entry may claim to begin anywhere; outside of the file is as good as at its end.
            entry.header_offset = min(entry.header_offset, n_bytes)
            self._numbers[row] = [getattr(entry, field) for field in ENTRY_FIELDS]
        overlapping = _overlapping(self._numbers, n_bytes=n_bytes)
        for row, entry in enumerate(entries):
            if row in self._file.damaged:
                name = entry.orig_filename.encode("cp437").decode("utf-8", "backslashreplace")
                self.refused.append(NotRead(shown_name(name), self._file.damaged[row]))
            else:
                self._note(entry, row, reason=OVERLAPS if overlapping[row] else None)
        # The records of zipfile take half a kilobyte each; there may be millions.
        entries.clear()
        self._archive.NameToInfo.clear()
        self._names = sorted(self._places)
        self.empty_folders = empty_folders(self._folders, self._names)
        rows = self._numbers[list(self._places.values())].tolist()
        total = sum(row[2] for row in rows if _reason_not_to_unpack(*row[1:3]) is None)
        refuse_too_much(total, n_bytes=n_bytes, where=self._file.path)

    def _note(self, entry: zipfile.ZipInfo, row: int, *, reason: str | None) -> None:
        # Some archivers on Windows separate folders by backslashes.
        name = entry.orig_filename.replace("\\", "/")
        if name.endswith("/") and not entry.file_size:
            self._folders.append(name)
            return
        reason = reason or reason_to_refuse_name(name) or _reason_to_refuse(entry)
        if reason:
            self.refused.append(NotRead(shown_name(entry.filename), reason))
            return
        name = entry_id(name)
        if name in self._places:
            self.refused.append(NotRead(name, REPLACED))
        self._places[name] = row
        self._raw.pop(name, None)
        if name != entry.orig_filename:
            self._raw[name] = entry.orig_filename

    def names(self) -> list[str]:
        """List the accepted files, sorted."""
        return self._names

    def read(self, name: str) -> bytes:
        """Read one file, and verify its size and checksum."""
        entry = self._entry(name)
        refuse_too_large(entry.file_size)
        if reason := _reason_not_to_unpack(entry.compress_size, entry.file_size):
            raise OSError(reason)
        claimed = entry.file_size
        # zipfile inflates everything and then cuts it to what is claimed, unless it is asked for a
        # number of bytes. One more than is claimed shows whether the claim is true.
        entry.file_size = UNKNOWN
        try:
            with self._archive.open(entry) as file:
                content = file.read(claimed + 1)
        except _DAMAGES as error:  # a wrong checksum, a missing end
            raise OSError(f"{type(error).__name__}: {error}") from None
        if len(content) != claimed:
            relation = "more" if len(content) > claimed else "fewer"
            raise OSError(f"it unpacks to {relation} bytes than the {claimed:,} that it claims")
        return content

    def head(self, name: str) -> bytes:
        """Read the first bytes of one file; none if it cannot be read."""
        try:
            with self._archive.open(self._entry(name)) as file:
                return file.read(BYTES_OF_HEAD)
        except _DAMAGES:
            return b""

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(self._raw.get(name, name))
        for field, number in zip(ENTRY_FIELDS, self._numbers[self._places[name]], strict=True):
            setattr(entry, field, int(number))
        return entry

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._file.close()


class _ListingFile(io.BufferedReader):
    """A zip archive's file; its list of entries is bounded, and repaired if `repairs` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.path = path
        self.repairs = False
        self.damaged: dict[int, str] = {}  # number of an entry -> why it cannot be read

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if content.startswith(LISTED):
            refuse_too_many(content.count(LISTED), where=str(self.path))
            if self.repairs:
                return self._repaired(content)
        return content

    def _repaired(self, listed: bytes) -> bytes:
        """Change entries that make zipfile refuse the whole list so that it accepts them."""
        repaired = bytearray(listed)
        start = number = 0
        while listed.startswith(LISTED, start) and len(listed) >= start + LISTED_ENTRY.size:
            _, _, n_name, n_extra, n_comment = LISTED_ENTRY.unpack_from(listed, start)
            extra = start + LISTED_ENTRY.size + n_name
            end = extra + n_extra + n_comment
            if reason := _damage(listed[start:end]):
                self.damaged[number] = reason
                repaired[start + 6 : start + 10] = bytes(4)  # no version, no flag for UTF-8
                repaired[extra : extra + n_extra] = bytes(n_extra)
            start, number = end, number + 1
        return bytes(repaired)


def _open(file: _ListingFile) -> zipfile.ZipFile:
    """Open an archive.

    Raises:
        UserError: if more than single entries of its list are damaged.
    """
    try:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGES:
            file.repairs = True
            archive = zipfile.ZipFile(file)
            file.repairs = False
        if any(entry.header_offset < 0 for entry in archive.infolist()):
            raise zipfile.BadZipFile("bytes are missing inside it")
    except UserError:
        raise
    except _DAMAGES as error:
        raise UserError(f"{file.path}: damaged zip archive ({error}). Download it again.") from None
    return archive


def _damage(listed_entry: bytes) -> str | None:
    """Explain why zipfile cannot read one entry of a list; None if it can."""
    n_bytes = len(listed_entry)
    end = LIST_END.pack(b"PK\5\6", 1, 1, n_bytes, 0, 0)
    try:
        zipfile.ZipFile(io.BytesIO(listed_entry + end)).close()
    except UnicodeDecodeError:
        return "its name is not in UTF-8, although it claims to be"
    except _DAMAGES as error:
        return f"{type(error).__name__}: {error}"
    return None


def _overlapping(numbers: np.ndarray, *, n_bytes: int) -> np.ndarray:
    """Find the entries that overlap the next one: bool, one per row.

    zipfile checks this only for entries of its own list.
    """
    starts, sizes = numbers[:, 0], np.minimum(numbers[:, 1], n_bytes)
    order = np.argsort(starts, kind="stable")
    overlaps = np.zeros(len(numbers), bool)
    ends = starts[order] + sizes[order] + BYTES_OF_HEADER
    overlaps[order[:-1]] = ends[:-1] > starts[order[1:]]
    return overlaps


def _reason_to_refuse(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return LINK
    if kind not in (0, stat.S_IFREG):
        return NOT_REGULAR
    if entry.flag_bits & 0x1:
        return ENCRYPTED
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile has no limit for what bzip2 and LZMA unpack.
        method = METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        return f"compressed by {method} instead of deflate; unpack the archive and use the folder"
    return None


def _reason_not_to_unpack(compress_size: int, file_size: int) -> str | None:
    if file_size > max(BYTES_BEYOND_SUSPICION, MAX_COMPRESSION_RATIO * compress_size):
        return f"{compress_size:,} bytes would unpack to {file_size:,}, which is no image"
    return None
