"""Every kind of image file gives the pixels that were written, and that another decoder reads."""

import io
import re

import cv2
import numpy as np
import pytest
from PIL import Image

from classifold.data.pixels import rgb_pixels
from classifold.ingest.formats import FORMATS
from classifold.ingest.images import decode
from image_kinds import all_kinds

KINDS = {kind.name: kind for kind in all_kinds()}

# Kinds that OpenCV 5.0 does not read.
UNREAD = (
    *(r"DIB", r"ICO", r"TGA", r"PCX", r"SGI", r"QOI", r"PPM in text", r"JPEG 12", r"JPEG lossless"),
    *(r"TIFF .*(lzma|zstd)", r"TIFF None \(", r"TIFF planes {'tile'", r"TIFF [24] bits"),
    *(r"TIFF float16", r"TIFF uint16 CMYK", r"JPEG 2000 .* gray and alpha", r"JPEG 2000 int16"),
)

# Kinds that OpenCV 5.0 reads as it likes, and what it does.
DIFFERENT = {
    r"TIFF (RGB[Aax]|gray and)": "colors are multiplied with alpha, or with what is no alpha",
    r"TIFF uint16 (RGBx|gray and)": "so they are",
    r"TIFF uint16, white is zero": "white stays black",
    r"TIFF uint16 (planes|of three)": "planes and bands are mixed up",
    r"PNG (2|4|8|16) gray, a gray transparent": "it stays opaque",
    r"AVIF orientation [2-8]": "it is not turned",
    r"GIF in part, None": "black where the frame is not",
    r"(JPEG 2000|AVIF) 1[024] bits": "values are returned as they are stored",
    r"P[PG]M to (1023|4095)": "so they are",
    r"BMP (16 bits|5-)": "missing bits are filled with zeros",
    r"BMP 32 bits by masks": "the fourth byte is read as alpha",
}


def matches(name, patterns):
    return any(re.match(pattern, name) for pattern in patterns)


def read_by_opencv(kind):
    """RGB over white, as floats in [0, 255]; None if OpenCV cannot read the file."""
    encoded = np.frombuffer(kind.encoded, np.uint8)
    if "orientation" in kind.name and "TIFF" not in kind.name:  # ignored by the other flag
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB).astype(float)
    values = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if values is None:
        return None
    low, high = 0, 1
    if values.dtype.kind != "f":
        low, high = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
    values = (np.atleast_3d(values).astype(float) - low) * 255 / (high - low)
    if values.shape[2] == 1:
        return values.repeat(3, axis=2)
    opacity = values[..., 3:] / 255 if values.shape[2] == 4 else 1
    return values[..., 2::-1] * opacity + 255 * (1 - opacity)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_gives_the_pixels_that_were_written(name):
    kind = KINDS[name]
    decoded = decode(kind.encoded)
    pixels = rgb_pixels(decoded.encoded)
    assert pixels.shape == kind.pixels.shape == (decoded.height, decoded.width, 3)
    np.testing.assert_allclose(pixels.astype(int), kind.pixels, rtol=0, atol=kind.tolerance)


@pytest.mark.parametrize("name", [n for n in KINDS if not matches(n, (*UNREAD, *DIFFERENT))])
def test_opencv_reads_the_same_pixels(name):
    kind = KINDS[name]
    pixels = rgb_pixels(decode(kind.encoded).encoded).astype(float)
    # Lossy formats are decoded with other roundings.
    tolerance = max(2, kind.tolerance)
    np.testing.assert_allclose(read_by_opencv(kind), pixels, rtol=0, atol=tolerance)


@pytest.mark.parametrize("pattern", [*UNREAD, *DIFFERENT])
def test_opencv_differs_where_this_file_lists_it(pattern):
    kinds = [kind for name, kind in KINDS.items() if re.match(pattern, name)]
    assert kinds
    for kind in kinds:
        read = read_by_opencv(kind)
        differs = read is None or read.shape != kind.pixels.shape
        assert differs or np.abs(read - kind.pixels).max() > max(2, kind.tolerance), kind.name


def test_the_kinds_are_of_all_formats():
    formats = set()
    for kind in KINDS.values():
        try:
            formats.add(Image.open(io.BytesIO(kind.encoded)).format)
        except OSError:
            continue  # a kind that Pillow does not read
    assert formats >= set(FORMATS)
