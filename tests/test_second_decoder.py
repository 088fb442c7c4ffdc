"""Every kind of image file gives the pixels that were written, and that another decoder reads."""

import io
import re
from itertools import groupby

import cv2
import numpy as np
import pytest
from PIL import Image

from classifold.data.pixels import rgb_pixels
from classifold.ingest.formats import FORMATS
from classifold.ingest.images import WHITE, decode
from classifold.ingest.ingestion import Read
from classifold.serving.new_images import decode_pixels
from image_kinds import all_kinds


def family_of(kind):
    return kind.name.split(" ", 1)[0]


KINDS = {kind.name: kind for kind in all_kinds()}
FAMILIES = {
    family: list(kinds)
    for family, kinds in groupby(sorted(KINDS.values(), key=family_of), key=family_of)
}

# Kinds that OpenCV 5.0 does not read.
UNREAD = (
    *(r"DIB", r"ICO", r"TGA", r"PCX", r"SGI", r"QOI", r"PPM in text", r"JPEG 12", r"JPEG lossless"),
    *(r"TIFF .*(lzma|zstd)", r"TIFF None \(", r"TIFF planes {'tile'", r"TIFF [24] bits"),
    *(r"TIFF float16", r"TIFF uint16 CMYK", r"JPEG 2000 .* gray and alpha", r"JPEG 2000 int16"),
)

# Kinds that OpenCV 5.0 reads as it likes, and what it does.
DIFFERENT = {
    r"TIFF (RGB[Ax]|(RGB|gray) and)": "colors are multiplied with alpha, or with what is no alpha",
    r"TIFF uint16 (RGBx|gray and)": "so they are",
    r"TIFF uint16, white is zero": "white stays black",
    r"TIFF uint16 (planes|of three)": "planes and bands are mixed up",
    r"PNG (2|4|8) gray, a gray transparent|PNG 16 gray, one color": "it stays opaque",
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


@pytest.mark.parametrize("family", FAMILIES)
def test_every_kind_gives_the_pixels_that_were_written_and_that_opencv_reads(family):
    for kind in FAMILIES[family]:
        decoded = decode(kind.encoded)
        pixels = rgb_pixels(decoded.encoded)
        assert pixels.shape == kind.pixels.shape == (decoded.height, decoded.width, 3), kind.name
        same = {"rtol": 0, "err_msg": kind.name}
        np.testing.assert_allclose(pixels.astype(int), kind.pixels, atol=kind.tolerance, **same)
        if not matches(kind.name, (*UNREAD, *DIFFERENT)):
            # Lossy formats are decoded with other roundings.
            tolerance = max(2, kind.tolerance)
            np.testing.assert_allclose(read_by_opencv(kind), pixels, atol=tolerance, **same)


@pytest.mark.parametrize("family", FAMILIES)
def test_new_images_get_the_pixels_and_hashes_of_the_table(family):
    for kind in FAMILIES[family]:
        stored = decode(kind.encoded, ranges={})
        new = decode_pixels(
            Read(kind.encoded, failure=None),
            **{"size": 8, "resize": "bicubic", "background": WHITE, "ranges": {}, "hashed": True},
        )
        expected = rgb_pixels(stored.encoded, size=8, resize="bicubic")
        np.testing.assert_array_equal(new.pixels, expected, err_msg=kind.name)
        assert new.hashes == (stored.pixels_sha256, stored.perceptual_hash), kind.name
        assert (new.width, new.height) == (stored.width, stored.height), kind.name


def test_opencv_differs_where_this_file_lists_it():
    for pattern in (*UNREAD, *DIFFERENT):
        kinds = [kind for name, kind in KINDS.items() if re.match(pattern, name)]
        assert kinds, pattern
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
