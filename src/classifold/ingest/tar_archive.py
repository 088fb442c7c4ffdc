"""Read tar archives as trees of files, without unpacking them to named files."""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from classifold.errors import UserError
from classifold.ingest.entries import (
    BYTES_OF_HEAD,
    LINK,
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

BLOCK = 2**20

# xz needs as much memory as a file claims, up to 4 GiB; "xz -9" needs 65 MiB.
MAX_MEMORY_OF_XZ = 2**28


class _XzFile:
    """An xz file, which is unpacked in bounded memory; Python's reader has no limit."""

    def __init__(self, path: Path, _mode: str) -> None:
        self._file = path.open("rb")
        self._stream = self._next_stream()

    def __enter__(self) -> "_XzFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none at the end."""
        while True:
            packed = b""
            if self._stream.eof:
                packed = self._stream.unused_data.lstrip(b"\0") or self._file.read(BLOCK)
                if not packed:
                    return b""
                self._stream = self._next_stream()
            elif self._stream.needs_input:
                packed = self._file.read(BLOCK)
                if not packed:
                    raise EOFError("the file ends within its compressed data")
            try:
                content = self._stream.decompress(packed, size)
            except lzma.LZMAError as error:
                if "Memory usage limit" in str(error):
                    raise UserError(
                        f"{self._file.name}: its compression needs more than {MAX_MEMORY_OF_XZ:,} "
                        "bytes of memory. If you trust it, unpack it yourself and use the folder."
                    ) from None
                raise
            if content:
                return content

    def _next_stream(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY_OF_XZ)


DECOMPRESSORS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": _XzFile,
}

# tarfile reads the headers of an entry (long names, attributes, maps of sparse files) into memory.
MAX_BYTES_OF_HEADERS = 2**20

_DAMAGES = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, RecursionError)


def is_tar(path: Path) -> bool:
    """Check whether a file is a tar archive, with or without compression by gzip, bzip2 or xz."""
    with path.open("rb") as file:
        block = file.read(tarfile.BLOCKSIZE)
    try:
        if decompress := _decompressor(block):
            with decompress(path, "rb") as source:
                block = source.read(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (OSError, *_DAMAGES):
        return False
    return True


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
        self._folders: list[str] = []
        try:
            self._file = _unpacked(path, scratch)
            try:
                headers: Any = _Headers(self._file)
                with tarfile.TarFile(fileobj=headers) as archive:
                    self._note(archive, headers, where=str(path))
                # One file may have millions of names.
                total = sum(content.n_bytes for content in self._contents.values())
                refuse_too_much(total, n_bytes=path.stat().st_size, where=path)
            except BaseException:
                self._file.close()
                raise
        except UserError:
            raise
        except (*_DAMAGES, ValueError, OverflowError) as error:  # numbers that are none
            raise UserError(f"{path}: damaged tar archive ({error}). Download it again.") from None
        self._names = sorted(self._contents)
        self.empty_folders = empty_folders(self._folders, self._names)

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

    def head(self, name: str) -> bytes:
        """Read the first bytes of one file."""
        offset, n_bytes = self._contents[name]
        self._file.seek(offset)
        return self._file.read(min(n_bytes, BYTES_OF_HEAD))

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _note(self, archive: tarfile.TarFile, headers: Any, *, where: str) -> None:
        for n_entries, member in enumerate(archive, start=1):
            headers.n_bytes = 0
            # tarfile keeps all members, a kilobyte each, and all headers that are valid for several
            # members; there may be millions.
            archive.members = []  # type: ignore[attr-defined]
            archive.pax_headers = {}
            refuse_too_many(n_entries, where=where)
            if member.size < 0:
                raise tarfile.ReadError(f"an entry of {member.size:,} bytes")
            if member.isdir():
                self._folders.append(member.name)
                continue
            reason = reason_to_refuse_name(member.name)
            if reason is None and member.islnk():
                outside = reason_to_refuse_name(member.linkname)
                linked = "" if outside else entry_id(member.linkname)
                if linked in self._contents:  # one file under two names
                    self._accept(entry_id(member.name), self._contents[linked])
                    continue
            if reason is None and (member.issym() or member.islnk()):
                reason = LINK
            elif reason is None and (not member.isreg() or member.issparse()):
                reason = NOT_REGULAR
            if reason:
                self.refused.append(NotRead(shown_name(member.name), reason))
            else:
                self._accept(entry_id(member.name), _Content(member.offset_data, member.size))
        # tarfile treats a damaged header as the end of the archive.
        self._file.seek(archive.offset)
        if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no entry at byte {archive.offset:,}")

    def _accept(self, name: str, content: _Content) -> None:
        if name in self._contents:
            self.refused.append(NotRead(name, REPLACED))
        self._contents[name] = content


class _Headers:
    """The file of an archive, as tarfile reads it: headers, which are bounded, and no contents."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell
        self._size = os.fstat(file.fileno()).st_size
        self.n_bytes = 0  # size of the headers of one entry; the caller resets it

    def seek(self, offset: int) -> int:
        """Move to the headers of another entry, which may claim to be anywhere."""
        if offset > self._size:
            raise tarfile.ReadError("unexpected end of data")
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        """Read a part of the headers."""
        self.n_bytes += max(size, 0)
        if size < 0 or self.n_bytes > MAX_BYTES_OF_HEADERS:
            raise tarfile.ReadError(
                f"headers of more than {MAX_BYTES_OF_HEADERS:,} bytes before an entry"
            )
        return self._file.read(size)


def _decompressor(head: bytes) -> Callable[..., Any] | None:
    return next((d for magic, d in DECOMPRESSORS.items() if head.startswith(magic)), None)


def _unpacked(path: Path, scratch: Path) -> IO[bytes]:
    """Open the archive, or a temporary file with its unpacked content."""
    with path.open("rb") as file:
        decompress = _decompressor(file.read(tarfile.BLOCKSIZE))
    if decompress is None:
        return path.open("rb")
    n_bytes = path.stat().st_size
    target = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the tree closes it
    try:
        with decompress(path, "rb") as source:
            _copy(source, target, n_bytes_packed=n_bytes, where=path)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


def _copy(source: IO[bytes], target: IO[bytes], *, n_bytes_packed: int, where: Path) -> None:
    n_bytes = 0
    while block := _read_block(source):
        n_bytes += len(block)
        refuse_too_much(n_bytes, n_bytes=n_bytes_packed, where=where)
        if shutil.disk_usage(target.fileno()).free < BLOCK:
            raise UserError(f"{where}: the disk is full while it is unpacked. Free some space.")
        target.write(block)


def _read_block(source: IO[bytes]) -> bytes:
    try:
        return source.read(BLOCK)
    except OSError as error:  # gzip and bzip2 raise it for damaged data
        raise tarfile.ReadError(str(error)) from None
