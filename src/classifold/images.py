"""Images of every kind into upright 8-bit RGB, and to the size a network wants."""

import hashlib
import io
import warnings
from typing import Literal, NamedTuple

import imagehash
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Conversion = Literal["grayscale", "palette", "alpha", "cmyk", "deep", "other"]

# More pixels than this are refused before they are decoded (a bomb of a few kilobytes can
# claim gigabytes). 64 million pixels are 192 MB as RGB.
MOST_PIXELS = 64_000_000

# What shows through transparent pixels.
BACKGROUND = (255, 255, 255)

ORIENTATION_TAG = 0x0112

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}

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
    """Bytes that are no image, a damaged one, or one too large to open safely."""


class Decoded(NamedTuple):
    """An image as the pipeline keeps it, and what was done to get there."""

    encoded: bytes  # as they came, or PNG where the pixels had to change
    width: int  # upright, in pixels
    height: int
    mode: str  # Pillow's mode of the file as it came
    conversion: Conversion | None  # what made it RGB; None: it was
    turned: bool  # whether EXIF said to turn or mirror it
    pixels_sha256: str  # of size and RGB values: equal for equal pixels in any format
    perceptual_hash: str  # 64 bits as 16 hexadecimal digits (DCT, Zauner 2010)


def decode(encoded: bytes) -> Decoded:
    """Decode an image file into upright 8-bit RGB.

    An 8-bit RGB file that stands upright keeps its bytes; any other is stored again as PNG,
    without loss. Deep grayscale is scaled to 8 bit (16-bit integers by 257, floats from
    their range), transparency is laid over white, and of an animation the first frame stays.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata in files whose pixels are whole.
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(encoded))
            if image.width * image.height > MOST_PIXELS:
                raise UnreadableImageError(
                    f"{image.width} x {image.height} pixels; the most opened is {MOST_PIXELS}"
                )
            image.load()
            mode, n_frames = image.mode, getattr(image, "n_frames", 1)
            turned = image.getexif().get(ORIENTATION_TAG, 1) not in (0, 1)
            upright = ImageOps.exif_transpose(image)
            conversion = _conversion(upright)
            rgb = upright if conversion is None else _to_rgb(upright)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not an image in a format that Pillow reads") from None
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise UnreadableImageError(f"{type(error).__name__}: {error}") from None

    if conversion is not None or turned or n_frames > 1:
        buffer = io.BytesIO()
        # A fresh image: no text, profile or EXIF of the source comes along.
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
        pixels_sha256=hashlib.sha256(size + rgb.tobytes()).hexdigest(),
        perceptual_hash=str(imagehash.phash(rgb)),
    )


def rgb_pixels(encoded: bytes, *, size: int | None = None, resize: str = "lanczos") -> np.ndarray:
    """Decode what `decode` kept, resized to a square if `size` is given.

    The whole picture is kept: one that is not square is stretched.

    Args:
        encoded: an 8-bit RGB image file.
        size: width and height wanted, in pixels.
        resize: the filter, a key of `FILTERS`.

    Returns:
        uint8 array (height, width, 3).
    """
    image: Image.Image = Image.open(io.BytesIO(encoded))
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), FILTERS[resize])
    return np.asarray(image.convert("RGB"))


def _conversion(image: Image.Image) -> Conversion | None:
    if image.mode == "RGB":
        return "alpha" if "transparency" in image.info else None
    if image.mode in ("P", "L", "1", "I") and "transparency" in image.info:
        return "alpha" if image.mode != "P" else "palette"
    if image.mode.startswith("I;16"):
        return "deep"
    return CONVERSIONS.get(image.mode, "other")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = _eight_bit(np.asarray(image), is_float=image.mode == "F")
    if "transparency" in image.info or image.mode in ("PA", "LA", "La", "RGBA", "RGBa"):
        rgba = image.convert("RGBA")
        background = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        image = Image.alpha_composite(background, rgba)
    return image.convert("RGB")


def _eight_bit(values: np.ndarray, *, is_float: bool) -> Image.Image:
    """Scale 32-bit values: 0-1 and 0-255 and 0-65535 as they are meant, others by range."""
    values = np.nan_to_num(values.astype(np.float64))
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535:
        top = 1 if high <= 1 and is_float else 255 if high <= 255 else 65535
        low, high = 0.0, float(top)
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
