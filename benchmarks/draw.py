"""Drawn data for benchmarks: photos (coloured gradients with noise), labels, hashes."""

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


def draw_labels(n_images: int) -> np.ndarray:
    """Draw which of 14 labels images bear, as often as in the report on photos: (N, 14) 0 or 1."""
    frequencies = (
        *(0.00469, 0.018, 0.01594, 0.05475, 0.0224, 0.16138, 0.03806),
        *(0.14894, 0.02988, 0.32013, 0.15606, 0.006, 0.00863, 0.02625),
    )
    draw = np.random.default_rng(1)
    return (draw.random((n_images, len(frequencies))) < frequencies).astype(int)


def draw_hashes(n_images: int) -> list[str]:
    """Draw perceptual hashes, a tenth of which are near copies of others."""
    draw = np.random.default_rng(1)
    words = draw.integers(0, 2**63, n_images, dtype=np.uint64)
    n_copies = n_images // 10
    bits = draw.integers(0, 63, (n_copies, 2), dtype=np.uint64)
    words[-n_copies:] = words[:n_copies] ^ (1 << bits[:, 0]) ^ (1 << bits[:, 1])
    return [f"{word:016x}" for word in words.tolist()]
