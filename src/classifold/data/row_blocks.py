"""Blocks of rows, so that the memory of a computation does not grow with the number of rows."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

MAX_VALUES = 2**22  # in a block
MAX_BYTES_IN_MEMORY = 2**26  # of an array that is filled in blocks; larger ones are in a file


def row_blocks(
    n_rows: int, n_columns: int, *, max_values: int | None = None, multiple: int = 1
) -> Iterator[slice]:
    """Yield the rows of a matrix in blocks; without rows one empty block.

    Args:
        n_rows: number of rows.
        n_columns: number of values in a row.
        max_values: number of values in a block of several rows; None is `MAX_VALUES`.
        multiple: the number of rows in a block, except the last, is a multiple of this number.
    """
    size = multiple * max(1, (max_values or MAX_VALUES) // (max(1, n_columns) * multiple))
    for start in range(0, max(1, n_rows), size):
        yield slice(start, min(start + size, n_rows))


class FilledArray:
    """An array (n_rows, ...) that is filled in blocks of rows.

    A large one is in a file without a name, which is deleted together with the array.
    """

    def __init__(self, n_rows: int, *, folder: Path) -> None:
        self.n_rows = n_rows
        self.folder = folder
        self.array = np.empty(0)

    def put(self, rows: slice, values: np.ndarray) -> None:
        """Put values into some rows; the first ones determine the shape and type."""
        if rows.start == 0:
            self.array = self._new((self.n_rows, *values.shape[1:]), values.dtype)
        self.array[rows] = values

    def _new(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        n_bytes = math.prod(shape) * dtype.itemsize
        if n_bytes <= MAX_BYTES_IN_MEMORY:
            return np.empty(shape, dtype)
        with TemporaryFile(dir=self.folder) as file:
            if sys.platform != "darwin":
                # A page of a full disk would otherwise end the process without a message.
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, dtype, "w+", shape=shape)
