"""Decode images of all common formats to upright 8-bit RGB."""

import hashlib
import io
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from classifold.ingest.perceptual_hash import perceptual_hash

Conversion = Literal["grayscale", "palette", "alpha", "cmyk", "deep", "other"]
CONVERSION_NAMES: tuple[Conversion, ...] = get_args(Conversion)

# Images with more pixels are refused before they are decoded (a decompression bomb of a few
# kilobytes can unpack to gigabytes). 64 million pixels are 192 MB as RGB.
MAX_PIXELS = 64_000_000

# The decoders that are used. Pillow has more, but some start other programs (EPS starts
# Ghostscript), and others are rare as photos.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "AVIF"),
    *("PPM", "TGA", "DIB", "ICO", "PCX", "QOI", "SGI"),
)

# Files of these keep their bytes if they are 8-bit RGB and upright; the others, rarer, are stored
# again as PNG: few programs read them, a TGA or ICO may be mistaken for another format, and Pillow
# does not report the bit depth of a JPEG 2000 or AVIF.
KEPT_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "WEBP", "PPM", "GIF")

# Their extensions, without those such as `.pdf` that plugins register.
EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".webp", ".avif", ".jp2", ".j2k", ".jpx", ".tga", ".ico", ".pcx"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".qoi", ".sgi"),
    )
)
# Images that are not read here; they are listed as unreadable instead of ignored.
UNREAD_EXTENSIONS = frozenset(
    (
        *(".heic", ".heif", ".jxl", ".svg", ".eps", ".psd", ".dcm", ".nii"),
        *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    )
)

WHITE = (255, 255, 255)

ORIENTATION_TAG = 0x0112

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
    "I": "deep",
    "F": "deep",
}


class UnreadableImageError(ValueError):
    """Raised for bytes that are no image, a damaged one, or one too large to open safely."""


class Decoded(NamedTuple):
    """An image as the table stores it, and how it was converted."""

    encoded: bytes  # the original file, or PNG where the pixels had to change
    width: int  # upright, in pixels
    height: int
    mode: str  # Pillow's mode of the original file
    conversion: Conversion | None  # how it became RGB; None: it was RGB
    turned: bool  # whether it was turned or mirrored as EXIF requires
    animated: bool  # whether it had several frames; the first was kept
    pixels_sha256: str  # of size and RGB values: equal for equal pixels in any format
    perceptual_hash: str  # 64 bits as 16 hexadecimal digits (DCT, Zauner 2010)


def decode(encoded: bytes, *, background: Sequence[int] = WHITE) -> Decoded:
    """Decode an image file into upright 8-bit RGB.

    An upright 8-bit RGB file of `KEPT_FORMATS` keeps its bytes; any other is stored again as PNG,
    without loss. Deep grayscale is scaled to 8 bit (16-bit integers by 257, floats from their
    range). Of an animation the first frame is used.

    Args:
        encoded: the file.
        background: red, green, blue in [0, 255], behind transparent pixels.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of unusual metadata in files whose pixels are intact.
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(
                    f"{image.width} x {image.height} pixels; the maximum is {MAX_PIXELS:,}"
                )
            deep = _is_deep(image)  # lost by loading
            # JPEG decoders ignore further images of an MPO (a JPEG of a phone).
            animated = image.format != "MPO" and getattr(image, "is_animated", False)
            rare = image.format not in KEPT_FORMATS
            # Loading a TIFF turns it and removes the tag.
            turned = image.getexif().get(ORIENTATION_TAG, 1) in range(2, 9)
            image.load()
            mode = image.mode
            upright = ImageOps.exif_transpose(image) if turned else image
            conversion = _conversion(upright, deep=deep)
            rgb = upright if conversion is None else _to_rgb(upright, background)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image in a supported format") from None
    except Exception as error:  # damaged bytes make decoders raise any exception
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None

    if conversion is not None or turned or animated or rare:
        buffer = io.BytesIO()
        # A new image: without text, profile or EXIF of the source.
        Image.fromarray(np.asarray(rgb)).save(buffer, "PNG", compress_level=3)
        encoded = buffer.getvalue()
    size = f"{rgb.width}x{rgb.height}:".encode()
    return Decoded(
        encoded=encoded,
        width=rgb.width,
        height=rgb.height,
        mode=mode,
        conversion=conversion,
        turned=turned,
        animated=animated,
        pixels_sha256=hashlib.sha256(size + rgb.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hash(rgb),
    )


def _is_deep(image: Image.Image) -> bool:
    """Check whether an image that is not loaded yet has more than 8 bits per channel."""
    # Pillow gives the raw mode of 16-bit colors ("RGB;16B" in PNG, "RGB;16L" in TIFF), or the
    # largest value (PPM).
    return any(
        ";16" in str(tile[3])
        or (tile[0].startswith("ppm") and isinstance(tile[3], tuple) and tile[3][-1] > 255)
        for tile in getattr(image, "tile", ())
    )


def _conversion(image: Image.Image, *, deep: bool) -> Conversion | None:
    if "transparency" in image.info and image.mode in ("RGB", "L", "1", "I"):
        return "alpha"
    if image.mode.startswith("I;16") or (deep and image.mode == "RGB"):
        return "deep"
    if image.mode == "RGB":
        return None
    return CONVERSIONS.get(image.mode, "other")


def _to_rgb(image: Image.Image, background: Sequence[int]) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = _eight_bit(np.asarray(image), is_float=image.mode == "F")
    if "transparency" in image.info or image.mode in ("PA", "LA", "La", "RGBA", "RGBa"):
        rgba = image.convert("RGBA")
        red, green, blue = background
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (red, green, blue, 255)), rgba)
    return image.convert("RGB")


def _eight_bit(values: np.ndarray, *, is_float: bool) -> Image.Image:
    """Scale 32-bit values: from 0-1, 0-255 or 0-65535 if they fit, else by their range."""
    scaled = np.array(values, dtype=np.float32)
    finite = np.isfinite(scaled)
    low = float(scaled.min(where=finite, initial=np.inf))
    high = float(scaled.max(where=finite, initial=-np.inf))
    if not finite.any():
        low = high = 0.0
    np.nan_to_num(scaled, copy=False, nan=low, posinf=high, neginf=low)
    if low >= 0 and high <= 65535:
        top = 1 if high <= 1 and is_float else 255 if high <= 255 else 65535
        low, high = 0.0, float(top)
    factor = 255 / (high - low) if high > low else 0.0
    scaled *= factor
    scaled -= low * factor
    return Image.fromarray(np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8))
