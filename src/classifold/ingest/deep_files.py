"""Read the stored values of PNG, JPEG 2000 and portable maps with more than 8 bits per channel."""

import re
import struct
from typing import Any

import numpy as np
from PIL import Image

from classifold.data.orientation import read_orientation
from classifold.ingest.deep_image import DeepImage, scale_to_8_bit
from classifold.ingest.limits import UnreadableImageError, check_size
from classifold.ingest.shallow_files import PNG_DEPTH

# Markers of a JPEG before its size: all but those of tables, extensions and conditioning.
BYTES_OF_JPEG_FRAME = 10
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# What a PNG contains if it may have an orientation. To look for it, Pillow decodes the image.
PNG_ORIENTATION = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

# The start of a JPEG 2000 codestream; 8 bytes later its size, 40 bytes later the number of its
# components, 3 bytes each.
SIZ = b"\xff\x4f\xff\x51"
BYTES_TO_SIZE = 8
BYTES_TO_COMPONENTS = 40

# OpenJPEG decodes all components to 32-bit integers.
BYTES_PER_COMPONENT = 4

# Width, height, and a scale factor whose sign is the byte order.
COLOR_FLOATS = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+([+-]?[\d.eE+-]+)\s")


def read_deep(encoded: bytes, image: Image.Image) -> DeepImage | None:
    """Read an image with more than 8 bits per channel; None if it has 8.

    Args:
        encoded: the file.
        image: the same file as Pillow opened it; its pixels are not loaded yet.
    """
    match image.format:
        case "PNG" if encoded[PNG_DEPTH] == 16:
            return _read_png(encoded, image)
        case "JPEG2000":
            return _read_jpeg2000(encoded, image)
        case "PPM":
            return _read_portable_map(encoded, image)
    return None


def read_unknown(encoded: bytes) -> DeepImage | None:
    """Read an image that Pillow does not know; None if it is none."""
    return _read_jpeg(encoded) or _read_color_floats(encoded)


def _read_jpeg(encoded: bytes) -> DeepImage | None:
    """Read a JPEG of more than 8 bits, as medical programs write it."""
    frame = _jpeg_frame(encoded)
    if frame is None:
        return None
    bits, height, width, n_components = frame
    if bits <= 8 or n_components not in (1, 3):
        return None
    check_size(width, height, n_components * 2)
    import imagecodecs  # noqa: PLC0415 - slow to import, and most data sets have no deep image

    top = None if bits == 16 else 2**bits - 1
    values = imagecodecs.jpeg_decode(encoded)
    if values.shape[:2] != (height, width):  # such as 0 x 0, of damaged ones
        raise UnreadableImageError(f"a JPEG of {bits} bits per channel that cannot be decoded")
    return DeepImage(values, mode="I;16" if n_components == 1 else "RGB", top=top)


def _jpeg_frame(encoded: bytes) -> tuple[int, int, int, int] | None:
    """Find bits per channel, height, width and number of channels of a JPEG."""
    at = 2
    while encoded.startswith(b"\xff\xd8\xff") and encoded[at : at + 1] == b"\xff":
        if len(encoded) < at + BYTES_OF_JPEG_FRAME:
            return None
        if encoded[at + 1] in JPEG_FRAMES:
            return struct.unpack_from(">BHHB", encoded, at + 4)
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def _read_color_floats(encoded: bytes) -> DeepImage | None:
    """Read a portable float map in color."""
    header = COLOR_FLOATS.match(encoded)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    check_size(width, height, 12)
    order = "<" if header[3].startswith(b"-") else ">"
    values = _numbers(encoded, header.end(), f"{order}f4", (height, width, 3))
    return DeepImage(values[::-1], mode="RGB")  # the lowest row comes first


def _read_png(encoded: bytes, image: Image.Image) -> DeepImage:
    import imagecodecs  # noqa: PLC0415 - as above

    values = imagecodecs.png_decode(encoded)  # with alpha where tRNS declares a transparent color
    colors, alpha = values, None
    if values.ndim == 3 and values.shape[2] in (2, 4):
        alpha = scale_to_8_bit(values[..., -1])
        colors = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    orientation = 1
    if any(mark in encoded for mark in PNG_ORIENTATION):
        image.load()
        orientation = read_orientation(image)
    return DeepImage(
        colors,
        mode=image.mode if alpha is None else "LA" if colors.ndim == 2 else "RGBA",
        alpha=alpha,
        orientation=orientation,
        animated=getattr(image, "is_animated", False),
    )


def _read_jpeg2000(encoded: bytes, image: Image.Image) -> DeepImage | None:
    siz = encoded.find(SIZ)
    # The size of the codestream; Pillow knows that of the file around it.
    right, lower, left, upper = struct.unpack_from(">4I", encoded, siz + BYTES_TO_SIZE)
    start = siz + BYTES_TO_COMPONENTS
    n_components = int.from_bytes(encoded[start : start + 2], "big")
    sizes = encoded[start + 2 : start + 2 + 3 * n_components : 3]
    # The first bit is that of signed values, the others the bit depth minus 1.
    if not sizes or max(sizes) < 8:
        return None
    if len(set(sizes)) > 1 or n_components not in (1, 2, 3, 4):
        raise UnreadableImageError(
            f"a JPEG 2000 of {n_components} components with more than 8 bits; gray or RGB of one "
            "bit depth, with or without alpha, is read"
        )
    bits, is_signed = sizes[0] % 128 + 1, sizes[0] >= 128
    check_size(right - left, lower - upper, n_components * BYTES_PER_COMPONENT)
    import imagecodecs  # noqa: PLC0415 - as above

    values = colors = imagecodecs.jpeg2k_decode(encoded)
    n_colors = n_components - (n_components in (2, 4))
    top = 2**bits - 1
    if n_components > 1:
        colors = values[..., 0] if n_colors == 1 else values[..., :n_colors]
    return DeepImage(
        colors,
        mode=image.mode,
        top=None if bits == 16 or is_signed else top,
        alpha=scale_to_8_bit(values[..., -1], top) if n_components in (2, 4) else None,
    )


def _read_portable_map(encoded: bytes, image: Any) -> DeepImage | None:
    codec, _, start, args = image.tile[0]
    top = args[1] if codec in ("ppm", "ppm_plain") and isinstance(args[1], int) else 255
    if image.mode == "F":
        return DeepImage(np.asarray(image), mode="F")
    if codec == "raw" and image.mode == "I":
        top = 65535
    if top <= 255:
        return None
    if codec == "ppm_plain":  # Pillow scales: gray to 65535, colors to 255
        values = np.asarray(image)
        return DeepImage(values, mode=image.mode, top=65535 if image.mode == "I" else 255)
    shape = (image.height, image.width) + ((3,) if image.mode == "RGB" else ())
    values = _numbers(encoded, start, ">u2", shape)
    # Many programs write 65535 whatever the images hold; a smaller maximum is meant.
    return DeepImage(values, mode=image.mode, top=None if top == 65535 else top)


def _numbers(encoded: bytes, start: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    if len(encoded) < start + count * np.dtype(dtype).itemsize:
        raise UnreadableImageError("the file is truncated")
    return np.frombuffer(encoded, dtype, count=count, offset=start).reshape(shape)
