"""Decode images of all common formats to upright 8-bit RGB."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from classifold.data.deep_ranges import Ranges
from classifold.data.orientation import METHODS
from classifold.ingest.deep_files import read_deep, read_unknown
from classifold.ingest.deep_fit import fit_ranges
from classifold.ingest.deep_image import (
    DeepImage,
    DeepUse,
    Measure,
    Scaler,
    measure,
)
from classifold.ingest.deep_tiff import is_deep_tiff, is_tiff, read_tiff
from classifold.ingest.entries import BYTES_OF_HEAD
from classifold.ingest.formats import FORMATS, KEPT_FORMATS, is_image, unsupported_format
from classifold.ingest.limits import (
    MAX_PIXELS,
    OUT_OF_MEMORY,
    UnreadableImageError,
    check_size,
    row_bands,
)
from classifold.ingest.perceptual_hash import perceptual_hash
from classifold.ingest.shallow_files import load

Conversion = Literal["grayscale", "palette", "alpha", "cmyk", "deep", "other"]
CONVERSION_NAMES: tuple[Conversion, ...] = get_args(Conversion)

WHITE = (255, 255, 255)
PLAIN = (OSError, SyntaxError, ValueError)  # of decoders: their messages are sentences

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


class Rgb(NamedTuple):
    """An upright 8-bit RGB image, and how it was converted."""

    image: Image.Image
    kept: bool  # whether the table keeps the original file
    mode: str  # Pillow's mode of the original file
    conversion: Conversion | None  # how it became RGB; None: it was RGB
    turned: bool  # whether it was turned or mirrored as EXIF requires
    animated: bool  # whether it had several frames; the first was kept
    deep: DeepUse | None  # how the range suited a deep image


class Hashes(NamedTuple):
    """What duplicates of an image have in common."""

    pixels_sha256: str  # of size and RGB values: equal in any file format
    perceptual_hash: str  # 64 bits as 16 hexadecimal digits (DCT, Zauner 2010)


class Decoded(NamedTuple):
    """An image as the table stores it, and how it was converted."""

    encoded: bytes  # the original file if `Rgb.kept`, else a PNG
    width: int  # upright, in pixels
    height: int
    mode: str  # this and the next four as in `Rgb`
    conversion: Conversion | None
    turned: bool
    animated: bool
    deep: DeepUse | None
    pixels_sha256: str  # this and the next as in `Hashes`
    perceptual_hash: str


def decode(
    encoded: bytes, *, background: Sequence[int] = WHITE, ranges: Ranges | None = None
) -> Decoded:
    """Decode an image file into upright 8-bit RGB, as the table stores it.

    An 8-bit RGB file of `KEPT_FORMATS` keeps its bytes, and its EXIF orientation, which
    `rgb_pixels` applies. Any other is stored again as PNG, without loss. The arguments and errors
    are those of `decode_rgb`.
    """
    with _explained(encoded):
        return _store(_decode(encoded, background=background, ranges=ranges), encoded)


def decode_or_measure(encoded: bytes, *, background: Sequence[int]) -> Decoded | Measure:
    """Decode an image file, or measure its values if it is deep and does not declare its range.

    Raises:
        UnreadableImageError: with the reason.
    """
    with _explained(encoded):
        source = _open(encoded)
        if isinstance(source, DeepImage) and source.top is None:
            return measure(source)
        return _store(_convert(source, encoded, background=background, ranges={}), encoded)


def decode_rgb(encoded: bytes, *, background: Sequence[int], ranges: Ranges | None) -> Rgb:
    """Decode an image file into upright 8-bit RGB. Of an animation the first frame is used.

    Args:
        encoded: the file.
        background: red, green, blue in [0, 255], behind transparent pixels.
        ranges: which values of deep images become black and white; None: those that are fitted if
            this image is the whole data set.

    Raises:
        UnreadableImageError: with the reason.
    """
    with _explained(encoded):
        return _decode(encoded, background=background, ranges=ranges)


def hash_pixels(image: Image.Image) -> Hashes:
    """Compute the hashes of an RGB image."""
    pixels = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for rows in row_bands(*image.size):
        pixels.update(_rows(image, rows).tobytes())
    return Hashes(pixels.hexdigest(), perceptual_hash(image))


@contextmanager
def _explained(encoded: bytes) -> Iterator[None]:
    """Convert any exception of decoding a file to an UnreadableImageError."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of unusual metadata in files whose pixels are intact.
            warnings.simplefilter("ignore")
            yield
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_explain_unidentified(encoded)) from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"too many pixels; the maximum is {MAX_PIXELS:,}") from None
    except MemoryError:
        raise UnreadableImageError(OUT_OF_MEMORY) from None
    except Exception as error:  # damaged bytes make decoders raise any exception
        text = f": {error}" if isinstance(error, PLAIN) and str(error) else ""
        raise UnreadableImageError(f"cannot be decoded{text}") from None


def _explain_unidentified(encoded: bytes) -> str:
    head = encoded[:BYTES_OF_HEAD]
    if name := unsupported_format(head):
        return f"{name} is not supported; convert it to JPEG or PNG"
    if not encoded:
        return "an empty file"
    if is_image(head):
        return "begins like an image, but cannot be decoded: damaged, or an unsupported variant"
    return "not an image in a supported format"


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


def _decode(encoded: bytes, *, background: Sequence[int], ranges: Ranges | None) -> Rgb:
    source = _open(encoded)
    if ranges is None and isinstance(source, DeepImage):
        fitted = fit_ranges([(None, measure(source))] if source.top is None else [])
        ranges = {kind: (limits.low, limits.high) for kind, limits in fitted.items()}
    return _convert(source, encoded, background=background, ranges=ranges or {})


def _convert(
    source: Image.Image | DeepImage, encoded: bytes, *, background: Sequence[int], ranges: Ranges
) -> Rgb:
    if isinstance(source, DeepImage):
        return _convert_deep(source, background=background, ranges=ranges)
    return _convert_shallow(source, encoded, background=background)


def _convert_shallow(image: Image.Image, encoded: bytes, *, background: Sequence[int]) -> Rgb:
    rare = image.format not in KEPT_FORMATS
    image, mode, turned, animated = load(image, encoded)
    conversion = _conversion(image, mode)
    changed = conversion is not None or animated or rare
    if changed:
        image = _compose(image.size, partial(_rows, image), background)
    return Rgb(
        image,
        kept=not changed,
        mode=mode,
        conversion=conversion,
        turned=turned,
        animated=animated,
        deep=None,
    )


def _convert_deep(source: DeepImage, *, background: Sequence[int], ranges: Ranges) -> Rgb:
    scaler = Scaler(source, ranges)
    rgb = _compose(source.size, partial(_scaled_rows, source, scaler), background)
    method = METHODS.get(source.orientation)
    if method is not None:
        rgb = rgb.transpose(method)
    # Of 8-bit values only scaled ones have a largest value: a text map's, by Pillow.
    deep = source.is_deep or source.mode == "CMYK" or source.top is not None
    return Rgb(
        rgb,
        kept=False,
        mode=source.mode,
        conversion="deep" if deep else "other",
        turned=method is not None,
        animated=source.animated,
        deep=scaler.use() if source.is_deep else None,
    )


def _store(rgb: Rgb, encoded: bytes) -> Decoded:
    """Encode an RGB image, if its file is not kept, and compute its hashes."""
    image = rgb.image
    if not rgb.kept:
        buffer = io.BytesIO()
        image.info.clear()  # no text, profile or EXIF of the source
        image.save(buffer, "PNG", compress_level=3)
        encoded = buffer.getvalue()
    return Decoded(
        encoded=encoded,
        width=image.width,
        height=image.height,
        mode=rgb.mode,
        conversion=rgb.conversion,
        turned=rgb.turned,
        animated=rgb.animated,
        deep=rgb.deep,
        **hash_pixels(image)._asdict(),
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
