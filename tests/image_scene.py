"""A scene, as arrays, and how it is written into files of many kinds."""

import io
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

from classifold.data.orientation import ORIENTATION_TAG

HEIGHT, WIDTH = 16, 24
Y, X = np.mgrid[:HEIGHT, :WIDTH]
GRAY = (X * 10 + Y).astype(np.uint8)
RGB = np.dstack([GRAY, 255 - GRAY, GRAY // 2 + 40])
ALPHA = (255 - X * 7).astype(np.uint8)
RGBA = np.dstack([RGB, ALPHA])
INK = np.dstack([RGB // 2, GRAY // 4])  # CMYK
WIDE = {"uint16": 257, "uint32": 257 * 65537}  # factors from 8 bits to all bits of a type

# EXIF orientation -> how the stored pixels are turned upright.
TURNS = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


class Kind(NamedTuple):
    """A file, and the RGB pixels that it must give over white."""

    name: str
    encoded: bytes
    pixels: np.ndarray
    tolerance: int = 0  # of lossy formats, and of the rounding of alpha


def over_white(colors, alpha):
    """Compose RGB pixels over white."""
    opacity = alpha[..., None] / 255
    return np.rint(colors * opacity + 255 * (1 - opacity)).astype(np.uint8)


def three(gray):
    """Repeat a gray channel."""
    return np.dstack([np.asarray(gray).astype(np.uint8)] * 3)


def pillow(image, file_format="PNG", **options):
    """Encode an image (array or Pillow's) with Pillow, as the bytes of a file."""
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def tiff(values, **options):
    """Write a TIFF with tifffile."""
    buffer = io.BytesIO()
    options.setdefault("photometric", "rgb" if values.ndim > 2 else "minisblack")
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def exif_of(orientation):
    """Make EXIF; each file needs its own, since Pillow takes the orientation out for an AVIF."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def to_rgb(image):
    """Convert with Pillow, where a format's definition is Pillow's (CMYK without a profile)."""
    return np.asarray(image.convert("RGB"))
