"""The pack: images of one size, ready to train on, in a few large files.

`images.npy` is a uint8 array (N, size, size, 3), memory-mapped when read; `index.parquet` has
a row for each: row, id, copy number (0: the original), transformation, label; `pack.json`
names the classes in their order, the size and the resize filter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifold.metrics_file import read_json, write_json

INDEX = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("copy", pa.int32()),
        ("transformation", pa.string()),
        ("label", pa.string()),
    ]
)


class Pack(NamedTuple):
    """Images with their labels; row i of each array is image i."""

    images: np.ndarray  # uint8 (N, size, size, 3)
    labels: np.ndarray  # int64 (N,): positions in `classes`
    ids: list[str]
    copies: np.ndarray  # int32 (N,): 0 for originals
    transformations: list[str]
    classes: list[str]
    size: int
    resize: str

    def originals(self) -> "Pack":
        """Leave the augmented copies out."""
        rows = np.flatnonzero(self.copies == 0)
        return self._replace(
            images=self.images[rows],
            labels=self.labels[rows],
            ids=[self.ids[row] for row in rows],
            copies=self.copies[rows],
            transformations=[self.transformations[row] for row in rows],
        )


class PackWriter:
    """Takes images one by one, in the order of their rows."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.columns: dict[str, list[object]] = {name: [] for name in INDEX.names}

    def add(
        self, pixels: np.ndarray, *, image_id: str, copy: int, transformation: str, label: str
    ) -> None:
        """Append one image, uint8 (size, size, 3)."""
        row = len(self.columns["row"])
        self.images[row] = pixels
        values = (row, image_id, copy, transformation, label)
        for name, value in zip(INDEX.names, values, strict=True):
            self.columns[name].append(value)


@contextmanager
def new_pack(
    folder: Path, *, n_images: int, size: int, resize: str, classes: Sequence[str]
) -> Iterator[PackWriter]:
    """Write a pack of exactly `n_images` images into `folder`, straight to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = (n_images, size, size, 3)
    path = folder / "images.npy"
    if n_images == 0:  # an empty file cannot be mapped
        images = np.empty(shape, np.uint8)
        np.save(path, images)
    else:
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    writer = PackWriter(images)
    yield writer
    if len(writer.columns["row"]) != n_images:
        raise ValueError(f"{folder}: {len(writer.columns['row'])} of {n_images} images written")
    if isinstance(images, np.memmap):
        images.flush()
    pq.write_table(pa.table(writer.columns, INDEX), folder / "index.parquet")
    write_json(folder / "pack.json", {"classes": list(classes), "size": size, "resize": resize})


def read_pack(folder: Path) -> Pack:
    """Read a pack; the images stay on the disk until they are used."""
    description = read_json(folder / "pack.json")
    index = pq.read_table(folder / "index.parquet").to_pydict()
    classes = description["classes"]
    position = {name: i for i, name in enumerate(classes)}
    labels = np.array([position[label] for label in index["label"]], np.int64)
    return Pack(
        images=np.load(folder / "images.npy", mmap_mode="r" if len(labels) else None),
        labels=labels,
        ids=index["id"],
        copies=np.array(index["copy"], np.int32),
        transformations=index["transformation"],
        **description,
    )
