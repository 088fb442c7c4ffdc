"""Compare the corruptions with those of another implementation, imagecorruptions-imaug.

    pip install --target /tmp/other imagecorruptions-imaug  # not beside opencv-python-headless
    PYTHONPATH=/tmp/other python benchmarks/corruptions.py photo.jpg ...

Both get the same random numbers. The images have 224 pixels, for which the other one has constants.
Rows are means over the photos and the five severities, in gray levels of 255: how far the two
corrupted images are apart, and how far each is from the photo.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from classifold.analysis.robustness.corruptions import CORRUPTIONS
from classifold.analysis.robustness.severities import arguments_of

SIZE = 224


class GlobalRandom:
    """The global random numbers of NumPy, which the other implementation uses."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np.random, {"integers": "randint"}.get(name, name))


def corrupt_both(photo: np.ndarray, name: str, severity: int) -> list[np.ndarray]:
    """Corrupt a photo, uint8 (224, 224, 3), with ours and with the other implementation."""
    from imagecorruptions import corrupt, corruptions  # noqa: PLC0415 - only installed for this

    # The function that Numba compiles draws from other random numbers.
    shuffle = corruptions._shuffle_pixels_njit_glass_blur
    corruptions._shuffle_pixels_njit_glass_blur = getattr(shuffle, "py_func", shuffle)
    seeded = {"seed": severity} if name in {"impulse_noise", "glass_blur"} else {}
    random = np.random.default_rng(severity) if name == "impulse_noise" else GlobalRandom()
    np.random.seed(severity)
    constants = arguments_of(name, severity, image_size=SIZE)
    ours = np.clip(CORRUPTIONS[name](photo / 255, random, *constants), 0, 1) * 255
    np.random.seed(severity)
    return [ours, corrupt(photo, severity, name, **seeded).astype(float)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    files = parser.parse_args().photos
    photos = [np.asarray(Image.open(file).convert("RGB").resize((SIZE, SIZE))) for file in files]
    print("| corruption | apart | ours, from the photo | the other, from the photo |")
    print("|---|--:|--:|--:|")
    for name in CORRUPTIONS:
        distances = []
        for photo in photos:
            for severity in range(1, 6):
                ours, other = corrupt_both(photo, name, severity)
                pairs = (ours, other), (ours, photo), (other, photo)
                distances.append([np.abs(first - second).mean() for first, second in pairs])
        print(f"| {name} | {' | '.join(f'{d:.2f}' for d in np.mean(distances, axis=0))} |")


if __name__ == "__main__":
    main()
