"""Write the embedded data set: the 1,797 handwritten digits (8 x 8 pixels) of scikit-learn.

Source: Alpaydin & Kaynak 1998, UCI Machine Learning Repository, "Optical Recognition of
Handwritten Digits" (its test split).
"""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

BRIGHTEST = 16


def write_digits(folder: Path) -> None:
    """Write each digit as `<class>/<number>.png`, grayscale."""
    images, labels = load_digits(return_X_y=True)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        gray = np.rint(pixels.reshape(8, 8) / BRIGHTEST * 255).astype(np.uint8)
        Image.fromarray(gray).save(path)
