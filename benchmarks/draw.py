"""Drawn photos for benchmarks: coloured gradients with noise, saved as JPEG."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw_photos(folder: Path, *, n_images: int, size: int) -> Path:
    """Draw `n_images` JPEGs of two classes into `folder`, and return it."""
    draw = np.random.default_rng(1)
    ramp = np.linspace(0, 1, size)
    for number in range(n_images):
        low, high, tilt = draw.uniform(0, 255, (3, 3))
        picture = low + (high - low) * ramp[:, None, None] + (tilt - 128) * ramp[None, :, None]
        picture = picture + draw.normal(0, 12, (size, size, 3))
        path = folder / f"class{number % 2}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path, quality=90)
    return folder
