"""Images that lie elsewhere and look like a uint8 array (N, size, size, 3) to who indexes them."""

import math
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from classifold.errors import UserError
from classifold.faults import CURE


class ImageArray:
    """What all of them have: a shape, a length, and a way into memory."""

    dtype = np.dtype(np.uint8)
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """How many bytes the images would take in memory."""
        return math.prod(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Take one image (for an integer), or several (for a slice or integers)."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)


class EncodedImages(ImageArray):
    """Images kept as JPEG, decoded when they are used."""

    def __init__(self, encoded: pa.ChunkedArray, *, size: int) -> None:
        """Take what a memory-mapped file holds.

        Args:
            encoded: JPEG files.
            size: width and height of each image.
        """
        self._encoded = encoded
        self.shape = (len(encoded), size, size, 3)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, (int, np.integer)):
            return self._decode(int(key))
        rows = np.arange(len(self))[key].tolist()
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for image, row in zip(images, rows, strict=True):
            image[:] = self._decode(row)
        return images

    def _decode(self, row: int) -> np.ndarray:
        encoded = np.frombuffer(self._encoded[row].as_buffer(), np.uint8)
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise UserError(
                f"image {row} of {len(self)} of the JPEGs in data/augmented is damaged; {CURE}"
            )
        return np.asarray(image)


class ChosenImages(ImageArray):
    """Some images of an array."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Take those of `rows`, in this order."""
        self._images, self._rows = images, rows
        self.shape = (len(rows), *images.shape[1:])

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._images[self._rows[key]]


class JoinedImages(ImageArray):
    """The images of two arrays, one after the other."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        """Put the images of `second` after those of `first`; they are of one size."""
        self._first, self._second = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        n_first = len(self._first)
        if rows.ndim == 0:
            return self._first[rows] if rows < n_first else self._second[rows - n_first]
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        of_first = rows < n_first
        images[of_first] = self._first[rows[of_first]]
        images[~of_first] = self._second[rows[~of_first] - n_first]
        return images
