"""Synthetic data for benchmarks: photos (colored gradients with noise), labels, hashes."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def make_photos(folder: Path, *, n_images: int, size: int) -> Path:
    """Write `n_images` JPEGs of two classes into `folder`, and return it."""
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


def make_labels(n_images: int) -> np.ndarray:
    """Sample 14 labels with the frequencies of report 001 (docs/REPORTS.md): 0 or 1 (N, 14)."""
    frequencies = (
        *(0.00469, 0.018, 0.01594, 0.05475, 0.0224, 0.16138, 0.03806),
        *(0.14894, 0.02988, 0.32013, 0.15606, 0.006, 0.00863, 0.02625),
    )
    draw = np.random.default_rng(1)
    return (draw.random((n_images, len(frequencies))) < frequencies).astype(int)


def make_hashes(n_images: int) -> list[str]:
    """Sample perceptual hashes, a tenth of which are near duplicates of others."""
    draw = np.random.default_rng(1)
    words = draw.integers(0, 2**63, n_images, dtype=np.uint64)
    n_duplicates = n_images // 10
    bits = draw.integers(0, 63, (n_duplicates, 2), dtype=np.uint64)
    words[-n_duplicates:] = words[:n_duplicates] ^ (1 << bits[:, 0]) ^ (1 << bits[:, 1])
    return [f"{word:016x}" for word in words.tolist()]


def make_archive(path: Path, *, n_images: int, n_classes: int, size: int) -> Path:
    """Write JPEGs into a zip with one folder per class, and return it.

    Each has coarse shapes of its own and of its class, and noise. Some are duplicates of another
    image of their class, exact (1 in 101) or recompressed (1 in 53), and some look like an image of
    another class (1 in 211).
    """
    draw = np.random.default_rng(1)
    of_class = draw.uniform(0, 255, (n_classes, 8, 8, 3)).astype(np.float32)
    noise = draw.normal(0, 8, (16, size, size, 3)).astype(np.float32)
    last: dict[int, tuple[np.ndarray, bytes]] = {}  # for each class: coarse shapes, JPEG
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(n_images):
            label = number % n_classes
            encoded, quality = b"", 90
            if number < 2 * n_classes or (number % 101 and number % 53 and number % 211):
                own = draw.uniform(0, 255, (8, 8, 3)).astype(np.float32)
                coarse = 0.4 * of_class[label] + 0.6 * own
            elif number % 101 == 0:
                coarse, encoded = last[label]
            else:
                coarse, _ = last[label if number % 53 == 0 else (label + 1) % n_classes]
                quality = 60
            if not encoded:
                picture = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
                pixels = np.clip(picture + noise[number % len(noise)], 0, 255).astype(np.uint8)
                _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
                encoded = jpeg.tobytes()
            last[label] = coarse, encoded
            archive.writestr(f"class{label:05}/{number:07}.jpg", encoded)
    return path
