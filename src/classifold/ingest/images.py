"""Decode images of all common formats to upright 8-bit RGB."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from classifold.data.deep_ranges import Ranges
from classifold.ingest.deep_files import read_deep, read_unknown
from classifold.ingest.deep_fit import fit_ranges
from classifold.ingest.deep_image import (
    ORIENTATION_TAG,
    DeepImage,
    DeepUse,
    Measure,
    Scaler,
    measure,
)
from classifold.ingest.deep_tiff import is_deep_tiff, is_tiff, read_tiff
from classifold.ingest.formats import FORMATS, KEPT_FORMATS
from classifold.ingest.limits import UnreadableImageError, check_size, row_bands
from classifold.ingest.perceptual_hash import perceptual_hash
from classifold.ingest.shallow_files import load

Conversion = Literal["grayscale", "palette", "alpha", "cmyk", "deep", "other"]
CONVERSION_NAMES: tuple[Conversion, ...] = get_args(Conversion)

WHITE = (255, 255, 255)

CONVERSIONS: dict[str, Conversion] = {
    "1": "grayscale",
    "L": "grayscale",
    "P": "palette",
    "PA": "alpha",
    "LA": "alpha",
    "La": "alpha",
    "RGBA": "alpha",
    "RGBa": "alpha",
    "CMYK": "cmyk",
}


class Decoded(NamedTuple):
    """An image as the table stores it, and how it was converted."""

    encoded: bytes  # the original file, or PNG where the pixels had to change
    width: int  # upright, in pixels
    height: int
    mode: str  # Pillow's mode of the original file
    conversion: Conversion | None  # how it became RGB; None: it was RGB
    turned: bool  # whether it was turned or mirrored as EXIF requires
    animated: bool  # whether it had several frames; the first was kept
    deep: DeepUse | None  # how the range suited a deep image
    pixels_sha256: str  # hash of size and RGB values: equal in any file format
    perceptual_hash: str  # 64 bits as 16 hexadecimal digits (DCT, Zauner 2010)


def decode(
    encoded: bytes, *, background: Sequence[int] = WHITE, ranges: Ranges | None = None
) -> Decoded:
    """Decode an image file into upright 8-bit RGB.

    An upright 8-bit RGB file of `KEPT_FORMATS` keeps its bytes; any other is stored again as PNG,
    without loss. Of an animation the first frame is used.

    Args:
        encoded: the file.
        background: red, green, blue in [0, 255], behind transparent pixels.
        ranges: which values of deep images become black and white; None: those that are fitted if
            this image is the whole data set.

    Raises:
        UnreadableImageError: with the reason.
    """
    with _explained():
        source = _open(encoded)
        if not isinstance(source, DeepImage):
            return _decode_shallow(source, encoded, background=background)
        if ranges is None:
            fitted = fit_ranges([(None, measure(source))] if source.top is None else [])
            ranges = {kind: (limits.low, limits.high) for kind, limits in fitted.items()}
        return _decode_deep(source, background=background, ranges=ranges)


def decode_or_measure(encoded: bytes, *, background: Sequence[int]) -> Decoded | Measure:
    """Decode an image file, or measure its values if it is deep and does not declare its range.

    Raises:
        UnreadableImageError: with the reason.
    """
    with _explained():
        source = _open(encoded)
        if not isinstance(source, DeepImage):
            return _decode_shallow(source, encoded, background=background)
        if source.top is None:
            return measure(source)
        return _decode_deep(source, background=background, ranges={})


@contextmanager
def _explained() -> Iterator[None]:
    """Convert any exception to an UnreadableImageError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of unusual metadata in files whose pixels are intact.
            warnings.simplefilter("ignore")
            yield
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image in a supported format") from None
    except Exception as error:  # damaged bytes make decoders raise any exception
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None


def _open(encoded: bytes) -> Image.Image | DeepImage:
    """Open an image; one of 8 bits is not loaded yet."""
    if is_tiff(encoded) and is_deep_tiff(encoded):
        return read_tiff(encoded)
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except (UnidentifiedImageError, KeyError):  # KeyError: an unknown compression of a TIFF
        deep = read_tiff(encoded) if is_tiff(encoded) else read_unknown(encoded)
        if deep is None:
            raise
        return deep
    check_size(*image.size)
    return read_deep(encoded, image) or image


def _decode_shallow(image: Image.Image, encoded: bytes, *, background: Sequence[int]) -> Decoded:
    rare = image.format not in KEPT_FORMATS
    image, mode, turned, animated = load(image, encoded)
    conversion = _conversion(image, mode)
    changed = conversion is not None or turned or animated or rare
    if changed:
        image = _compose(image.size, partial(_rows, image), background)
    return _describe(
        image,
        None if changed else encoded,
        mode=mode,
        conversion=conversion,
        turned=turned,
        animated=animated,
        deep=None,
    )


def _decode_deep(source: DeepImage, *, background: Sequence[int], ranges: Ranges) -> Decoded:
    scaler = Scaler(source, ranges)
    rgb = _compose(source.size, partial(_scaled_rows, source, scaler), background)
    turned = source.orientation in range(2, 9)
    if turned:
        rgb.getexif()[ORIENTATION_TAG] = source.orientation
        rgb = ImageOps.exif_transpose(rgb)
    return _describe(
        rgb,
        None,
        mode=source.mode,
        # Of 8-bit values only scaled ones have a largest value: a text map's, by Pillow.
        conversion=(
            "deep" if source.is_deep or source.mode == "CMYK" or source.top is not None else "other"
        ),
        turned=turned,
        animated=source.animated,
        deep=scaler.use() if source.is_deep else None,
    )


def _describe(rgb: Image.Image, encoded: bytes | None, **properties: Any) -> Decoded:
    """Encode an RGB image, if it has no file yet, and compute its hashes."""
    if encoded is None:
        buffer = io.BytesIO()
        rgb.info.clear()  # no text, profile or EXIF of the source
        rgb.save(buffer, "PNG", compress_level=3)
        encoded = buffer.getvalue()
    pixels = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode())
    for rows in row_bands(*rgb.size):
        pixels.update(_rows(rgb, rows).tobytes())
    return Decoded(
        encoded=encoded,
        width=rgb.width,
        height=rgb.height,
        pixels_sha256=pixels.hexdigest(),
        perceptual_hash=perceptual_hash(rgb),
        **properties,
    )


def _conversion(image: Image.Image, mode: str) -> Conversion | None:
    """Classify the conversion of a loaded image, whose file had a mode."""
    if "transparency" in image.info and mode in ("RGB", "L", "1"):
        return "alpha"
    return None if mode == "RGB" else CONVERSIONS.get(mode, "other")


def _rows(image: Image.Image, rows: slice) -> Image.Image:
    return image.crop((0, rows.start, image.width, rows.stop))


def _scaled_rows(source: DeepImage, scaler: Scaler, rows: slice) -> Image.Image:
    """Scale a band to 8 bit."""
    values = scaler.scale(rows)
    mode = "L" if values.ndim == 2 else source.mode[: values.shape[2]]
    if source.alpha is not None:
        values = np.dstack([values, source.alpha[rows]])
        mode += source.mode[-1]
    return Image.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes())


def _compose(
    size: tuple[int, int], band: Callable[[slice], Image.Image], background: Sequence[int]
) -> Image.Image:
    """Convert bands of an image to RGB over a background."""
    red, green, blue = background
    rgb = Image.new("RGB", size)
    for rows in row_bands(*size):
        image = band(rows)
        if image.mode == "La":
            image = image.convert("LA")
        if "transparency" in image.info or image.mode in ("PA", "LA", "RGBA", "RGBa"):
            rgba = image.convert("RGBA")
            base = Image.new("RGBA", rgba.size, (red, green, blue, 255))
            image = Image.alpha_composite(base, rgba)
        rgb.paste(image.convert("RGB"), (0, rows.start))
    return rgb
