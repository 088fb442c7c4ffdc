"""Draw small pictures side by side, enlarged without smoothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

TILE_SIZE = 96
MARGIN = 2
WHITE = 255


def draw_tiles(path: Path, rows: Sequence[Sequence[np.ndarray]]) -> None:
    """Draw square pictures in rows; short rows are filled with white.

    Args:
        path: PNG file to write.
        rows: pictures of values in [0, 1] (others are clipped): (H, W), or (H, W, 3) in color.
    """
    n_columns = max(len(row) for row in rows)
    blank = np.full((TILE_SIZE, TILE_SIZE, 3), WHITE, np.uint8)
    drawn = []
    for row in rows:
        tiles = [*map(_enlarge, row), *[blank] * (n_columns - len(row))]
        margins = ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
        padded = [np.pad(tile, margins, constant_values=WHITE) for tile in tiles]
        drawn.append(np.concatenate(padded, axis=1))
    Image.fromarray(np.concatenate(drawn)).save(path)


def _enlarge(tile: np.ndarray) -> np.ndarray:
    """Convert a picture to uint8 (TILE_SIZE, TILE_SIZE, 3)."""
    pixels = np.rint(np.clip(tile, 0, 1) * 255).astype(np.uint8)
    size = (TILE_SIZE, TILE_SIZE)
    enlarged = Image.fromarray(pixels).convert("RGB").resize(size, Image.Resampling.NEAREST)
    return np.asarray(enlarged)
