"""Images on disk that can be indexed like a uint8 array (N, size, size, 3).

Selections and concatenations are of arrays of any type, such as features of images.
"""

import hashlib
import math
import mmap
from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa

from classifold.errors import UserError
from classifold.runtime.faults import REMEDY
from classifold.runtime.parallel import threaded_map

BYTES_PER_CHUNK = 2**24  # size in which images are hashed


class ImageArray:
    """Base class: a shape, a length, and conversion to a NumPy array."""

    dtype = np.dtype(np.uint8)
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Number of bytes of the decoded images."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        """Return one image (for an integer) or several (for a slice or integers)."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def prefetch(self, rows: np.ndarray) -> None:
        """Start to read some images in the background, as the function of this name does."""


def prefetch(images: np.ndarray, rows: np.ndarray) -> None:
    """Let the operating system read images of a memory-mapped file in the background.

    It reads only these images. Without this call it also reads the pages around each of them: for
    an eighth of the images seven times as many bytes, one image after the other.
    """
    if isinstance(images, ImageArray):
        images.prefetch(rows)
    elif isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):
        start = images.offset % mmap.ALLOCATIONGRANULARITY
        n_bytes = math.prod(images.shape[1:]) * images.itemsize
        _will_need(images.base, [(start + row * n_bytes, n_bytes) for row in rows.tolist()])


def _will_need(mapped: mmap.mmap, places: list[tuple[int, int]]) -> None:
    """Advise the operating system to read places (first byte, length) of a file."""
    if hasattr(mmap, "MADV_WILLNEED"):  # not on Windows
        for first, n_bytes in places:
            page = first - first % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, first + n_bytes - page)


class EncodedImages(ImageArray):
    """Images stored as JPEG, decoded when they are used."""

    recorded_hash: str | None = None

    def __init__(self, file: mmap.mmap, *, size: int) -> None:
        """Open the images of a memory-mapped file.

        Args:
            file: in Arrow's format, with a column `jpeg` of JPEG files.
            size: width and height of each image.
        """
        # Arrow's own memory map makes the system read the whole file.
        whole = pa.py_buffer(file)
        starts, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for chunk in pa.ipc.open_file(pa.BufferReader(whole)).read_all()["jpeg"].chunks:
            _, limits, content = chunk.buffers()
            places = np.frombuffer(limits, np.int32)[: len(chunk) + 1] + np.int64(
                content.address - whole.address
            )
            starts.append(places[:-1])
            ends.append(places[1:])
        self.file = file
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)
        self.shape = (len(self._starts), size, size, 3)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, (int, np.integer)):
            return self._decode(int(key))
        rows = np.arange(len(self))[key].tolist()
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for image, row in zip(images, rows, strict=True):
            image[:] = self._decode(row)
        return images

    def prefetch(self, rows: np.ndarray) -> None:  # noqa: D102 - as above
        lengths = self._ends[rows] - self._starts[rows]
        _will_need(self.file, list(zip(self._starts[rows].tolist(), lengths.tolist(), strict=True)))

    def _decode(self, row: int) -> np.ndarray:
        start, end = int(self._starts[row]), int(self._ends[row])
        encoded = np.frombuffer(self.file, np.uint8, count=end - start, offset=start)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise UserError(
                f"data/augmented: image {row} of {len(self)} is a damaged JPEG; {REMEDY}"
            )
        return np.asarray(image)


class ChosenImages(ImageArray):
    """A selection of the images of an array."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Select the images of `rows`, in this order."""
        self._images, self._rows = images, rows
        self.shape, self.dtype = (len(rows), *images.shape[1:]), images.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._images[self._rows[key]]

    def prefetch(self, rows: np.ndarray) -> None:  # noqa: D102 - as above
        prefetch(self._images, self._rows[rows])


class JoinedImages(ImageArray):
    """The images of two arrays, one after the other."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        """Put the images of `second` after those of `first`; they are of one size."""
        self._first, self._second = first, second
        self.shape, self.dtype = (len(first) + len(second), *first.shape[1:]), first.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        n_first = len(self._first)
        if rows.ndim == 0:
            return self._first[rows] if rows < n_first else self._second[rows - n_first]
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        of_first = rows < n_first
        images[of_first] = self._first[rows[of_first]]
        images[~of_first] = self._second[rows[~of_first] - n_first]
        return images

    def prefetch(self, rows: np.ndarray) -> None:  # noqa: D102 - as above
        prefetch(self._first, rows[rows < len(self._first)])
        prefetch(self._second, rows[rows >= len(self._first)] - len(self._first))


def apply_to_stored(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Apply a function to each array that images are selected from or concatenated of.

    Args:
        function: takes stored images (N, …), and returns an array (N, …) with a row per image.
        images: an array, or an ImageArray.

    Returns:
        The rows for `images`, in their order; a selection of them is not loaded.
    """
    match images:
        case ChosenImages():
            stored = apply_to_stored(function, images._images)
            return cast(np.ndarray, ChosenImages(stored, images._rows))
        case JoinedImages():
            parts = (apply_to_stored(function, part) for part in (images._first, images._second))
            return cast(np.ndarray, JoinedImages(*parts))
    return function(images)


def content_hash(images: np.ndarray) -> str:
    """Return the hash of stored images: the one that their file records, or the computed one."""
    if recorded := getattr(images, "recorded_hash", None):
        return str(recorded)
    if isinstance(images, EncodedImages):
        content = memoryview(images.file)
    else:
        content = np.ascontiguousarray(images).reshape(-1).view(np.uint8).data
    starts = range(0, len(content), BYTES_PER_CHUNK)
    chunks = (content[start : start + BYTES_PER_CHUNK] for start in starts)
    digest = hashlib.sha256(f"{images.shape}".encode())
    for part in threaded_map(lambda chunk: hashlib.sha256(chunk).digest(), chunks):
        digest.update(part)
    return digest.hexdigest()
