"""The same work as a plain loop with Pillow, as people write it."""

import random
from pathlib import Path

import numpy as np
from PIL import Image


def decode_all(folder: Path) -> int:
    """Decode every image into RGB, one after another."""
    n_pixels = 0
    for path in sorted(folder.rglob("*.jpg")):
        image = Image.open(path).convert("RGB")
        n_pixels += np.asarray(image).size
    return n_pixels


def augment_all(folder: Path, out: Path, *, rotate: float, scale: tuple[float, float]) -> None:
    """Flip, rotate and scale every image eightfold into one uint8 array."""
    draw = random.Random(1)
    files = sorted(folder.rglob("*.jpg"))
    size = Image.open(files[0]).size[0]
    shape = (len(files) * 8, size, size, 3)
    pack = np.lib.format.open_memmap(out / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    row = 0
    for path in files:
        image = Image.open(path).convert("RGB")
        flips = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        flips += [flipped.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for flipped in flips]
        for flipped in flips:
            degrees, factor = draw.uniform(-rotate, rotate), draw.uniform(*scale)
            warped = flipped.rotate(degrees, Image.Resampling.BILINEAR)
            side = round(size * factor)
            shrunk = warped.resize((side, side), Image.Resampling.BILINEAR)
            canvas = Image.new("RGB", image.size)
            canvas.paste(shrunk, ((size - side) // 2,) * 2)
            pack[row] = np.asarray(flipped)
            pack[row + 1] = np.asarray(canvas)
            row += 2
    pack.flush()
