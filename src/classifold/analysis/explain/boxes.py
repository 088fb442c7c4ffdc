"""Read bounding boxes of objects, and find the pixels inside of them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.image_table import iter_columns


class Box(NamedTuple):
    """The corners of a bounding box, as fractions of the image's width and height."""

    x0: float
    y0: float
    x1: float
    y1: float


def read_boxes(ingested: Path, ids: Collection[str]) -> dict[str, list[Box]]:
    """Read the boxes of images: id -> boxes, for images that have some.

    Args:
        ingested: folder of the image table.
        ids: ids of the images.
    """
    wanted = set(ids)
    boxes = {}
    for row in iter_columns(ingested, ["id", "boxes", "width", "height"]):
        if row["id"] in wanted and row["boxes"]:
            width, height = row["width"], row["height"]
            boxes[row["id"]] = [
                Box(box["x0"] / width, box["y0"] / height, box["x1"] / width, box["y1"] / height)
                for box in row["boxes"]
            ]
    return boxes


def inside(boxes: Sequence[Box], shape: tuple[int, int]) -> np.ndarray:
    """Find the pixels of a map (H, W) with their centers in one of the boxes: bool (H, W)."""
    height, width = shape
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    covered = np.zeros(shape, bool)
    for box in boxes:
        rows, columns = (y >= box.y0) & (y < box.y1), (x >= box.x0) & (x < box.x1)
        covered |= rows[:, None] & columns
    return covered
