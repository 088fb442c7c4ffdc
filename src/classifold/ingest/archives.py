"""Read zip and tar archives as trees of files, without unpacking them to named files."""

import bz2
import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from classifold.errors import UserError
from classifold.ingest.entries import (
    MAX_CHARACTERS_PER_NAME,
    TOO_LONG,
    NotRead,
    entry_id,
    readable_id,
    refuse_too_large,
    refuse_too_many,
)

# Images hardly compress. A large entry that unpacks to more than this many times its size was made
# to exhaust memory or disk.
MAX_COMPRESSION_RATIO = 100
BYTES_BEYOND_SUSPICION = 64 * 2**20
BYTES_UNPACKED_BEYOND_SUSPICION = 2**30

DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}

BLOCK = 2**20


def is_zip(path: Path) -> bool:
    """Check whether a file begins like a zip archive, damaged or not."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path: Path) -> bool:
    """Check whether a file is a tar archive, with or without compression by gzip, bzip2 or xz."""
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError, RecursionError):
        return False


# The fields that zipfile needs to read an entry.
ENTRY_FIELDS = (
    *("header_offset", "compress_size", "file_size", "CRC"),
    *("compress_type", "flag_bits"),
)


class ZipTree:
    """The files in a zip archive."""

    def __init__(self, path: Path) -> None:
        """Read the archive's list of entries.

        Raises:
            UserError: if the list is damaged, or too long.
        """
        try:
            self._archive = zipfile.ZipFile(path)
            if any(entry.header_offset < 0 for entry in self._archive.infolist()):
                raise zipfile.BadZipFile("bytes are missing inside it")
        except _ZIP_DAMAGES as error:
            raise UserError(f"{path}: damaged zip archive ({error}). Download it again.") from None
        entries = self._archive.infolist()
        refuse_too_many(len(entries), where=str(path))
        self.refused: list[NotRead] = []
        self._places: dict[str, int] = {}  # id -> row of `_numbers`
        self._raw: dict[str, str] = {}  # names that differ from their ids
        self._numbers = np.empty((len(entries), len(ENTRY_FIELDS)), dtype=np.uint64)
        for row, entry in enumerate(entries):
            self._numbers[row] = [getattr(entry, field) for field in ENTRY_FIELDS]
        overlapping = _overlapping(self._numbers)
        for row, entry in enumerate(entries):
            if not entry.filename.endswith("/"):
                self._note(entry, row, overlaps=bool(overlapping[row]))
        # The records of zipfile take half a kilobyte each; there may be millions.
        entries.clear()
        self._archive.NameToInfo.clear()
        self._names = sorted(self._places)

    def _note(self, entry: zipfile.ZipInfo, row: int, *, overlaps: bool) -> None:
        # Some archivers on Windows separate folders by backslashes.
        name = entry_id(entry.filename.replace("\\", "/"))
        reason = _reason_to_refuse(entry) if name else OUTSIDE
        if overlaps:
            reason = OVERLAPS
        if name is None or reason:
            self.refused.append(NotRead(_shown(entry.filename), str(reason)))
            return
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
        """Read one file, and verify its checksum."""
        entry = zipfile.ZipInfo(self._raw.get(name, name))
        for field, number in zip(ENTRY_FIELDS, self._numbers[self._places[name]], strict=True):
            setattr(entry, field, int(number))
        refuse_too_large(entry.file_size)
        if (
            entry.file_size > BYTES_BEYOND_SUSPICION
            and entry.file_size > MAX_COMPRESSION_RATIO * entry.compress_size
        ):
            raise OSError(
                f"{entry.compress_size:,} bytes would unpack to {entry.file_size:,}, which is no "
                "image"
            )
        try:
            return self._archive.read(entry)
        except _ZIP_DAMAGES as error:
            # A wrong checksum, an unknown compression, a missing end.
            raise OSError(f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


_ZIP_DAMAGES = (
    *(zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError),
    *(zlib.error, lzma.LZMAError, struct.error, OverflowError),
)

REPLACED = "replaced by a later entry of the same name"
OVERLAPS = "it shares bytes with another entry, as in an archive made to exhaust resources"

BYTES_OF_HEADER = 30  # at least, before the content of an entry


class _Content(NamedTuple):
    """The position of a file in an archive that is not compressed."""

    offset: int
    n_bytes: int


class TarTree:
    """The files in a tar archive.

    A compressed one is unpacked first into one temporary file, since a compressed stream has no
    random access.
    """

    def __init__(self, path: Path, *, scratch: Path) -> None:
        """Read the archive once, and note the positions of its files.

        Args:
            path: the archive.
            scratch: a folder with room for its unpacked content, if it is compressed.

        Raises:
            UserError: if the archive is damaged, was made to fill the disk, or has too many
                entries.
        """
        self.refused: list[NotRead] = []
        self._contents: dict[str, _Content] = {}
        try:
            self._file = _unpacked(path, scratch)
            try:
                with tarfile.open(fileobj=self._file, mode="r:") as archive:
                    self._note(archive, where=str(path))
            except BaseException:
                self._file.close()
                raise
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RecursionError) as error:
            raise UserError(f"{path}: damaged tar archive ({error}). Download it again.") from None
        self._names = sorted(self._contents)

    def names(self) -> list[str]:
        """List the accepted files, sorted."""
        return self._names

    def read(self, name: str) -> bytes:
        """Read one file."""
        offset, n_bytes = self._contents[name]
        refuse_too_large(n_bytes)
        self._file.seek(offset)
        content = self._file.read(n_bytes)
        if len(content) < n_bytes:
            raise OSError(f"the archive ends {n_bytes - len(content):,} bytes too early")
        return content

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _note(self, archive: tarfile.TarFile, *, where: str) -> None:
        for n_entries, member in enumerate(archive, start=1):
            # tarfile keeps all members, a kilobyte each; there may be millions.
            archive.members = []  # type: ignore[attr-defined]
            refuse_too_many(n_entries, where=where)
            if member.size < 0:
                raise tarfile.ReadError(f"an entry of {member.size:,} bytes")
            if member.isdir():
                continue
            name = entry_id(member.name)
            linked = entry_id(member.linkname) if member.islnk() else None
            if name is None:
                reason = OUTSIDE
            elif len(name) > MAX_CHARACTERS_PER_NAME:
                reason = TOO_LONG
            elif member.islnk() and linked in self._contents:
                self._accept(name, self._contents[linked])  # one file under two names
                continue
            elif member.issym() or member.islnk():
                reason = "a link; links of archives are not followed"
            elif not member.isreg() or member.issparse():
                reason = "not a regular file"
            else:
                self._accept(name, _Content(member.offset_data, member.size))
                continue
            self.refused.append(NotRead(_shown(member.name), reason))
        # tarfile treats a damaged header as the end of the archive.
        self._file.seek(archive.offset)
        if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no entry at byte {archive.offset:,}")

    def _accept(self, name: str, content: _Content) -> None:
        if name in self._contents:
            self.refused.append(NotRead(name, REPLACED))
        self._contents[name] = content


OUTSIDE = "its name is a path outside the archive"


def _shown(name: str) -> str:
    """Format the name of a refused entry."""
    return readable_id(name)[:MAX_CHARACTERS_PER_NAME] or "(no name)"


def _overlapping(numbers: np.ndarray) -> np.ndarray:
    """Find the entries that overlap the next one: bool, one per row.

    zipfile checks this only for entries of its own list.
    """
    starts, sizes = numbers[:, 0], numbers[:, 1]
    order = np.argsort(starts, kind="stable")
    overlaps = np.zeros(len(numbers), bool)
    ends = starts[order] + sizes[order] + BYTES_OF_HEADER
    overlaps[order[:-1]] = ends[:-1] > starts[order[1:]]
    return overlaps


def _reason_to_refuse(entry: zipfile.ZipInfo) -> str | None:
    if len(entry.filename) > MAX_CHARACTERS_PER_NAME:
        return TOO_LONG
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a link; links of archives are not followed"
    if entry.flag_bits & 0x1:
        return "encrypted; unpack the archive with its password and use the folder"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile has no limit for what bzip2 and LZMA unpack.
        return "compressed by a method other than deflate; unpack the archive and use the folder"
    return None


def _unpacked(path: Path, scratch: Path) -> IO[bytes]:
    """Open the archive, or a temporary file with its unpacked content."""
    with path.open("rb") as file:
        head = file.read(6)
    decompress = next((d for magic, d in DECOMPRESSORS.items() if head.startswith(magic)), None)
    if decompress is None:
        return path.open("rb")
    max_bytes = max(BYTES_UNPACKED_BEYOND_SUSPICION, MAX_COMPRESSION_RATIO * path.stat().st_size)
    target = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the tree closes it
    try:
        with decompress(path, "rb") as source:
            _copy(source, target, max_bytes=max_bytes, where=path)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


def _copy(source: IO[bytes], target: IO[bytes], *, max_bytes: int, where: Path) -> None:
    n_bytes = 0
    while block := _read_block(source):
        n_bytes += len(block)
        if n_bytes > max_bytes:
            raise UserError(
                f"{where}: unpacks to more than {max_bytes:,} bytes, over {MAX_COMPRESSION_RATIO} "
                "times its size, which images do not. If you trust it, unpack it yourself and use "
                "the folder."
            )
        if shutil.disk_usage(target.fileno()).free < BLOCK:
            raise UserError(f"{where}: the disk is full while it is unpacked. Free some space.")
        target.write(block)


def _read_block(source: IO[bytes]) -> bytes:
    try:
        return source.read(BLOCK)
    except OSError as error:  # gzip and bzip2 raise it for damaged data
        raise tarfile.ReadError(str(error)) from None
