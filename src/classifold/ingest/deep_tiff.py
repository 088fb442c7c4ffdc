"""Read the stored values of TIFF files that Pillow cannot read, or reads with fewer bits."""

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from classifold.data.orientation import ORIENTATION_TAG
from classifold.ingest.deep_image import DeepImage, scale_to_8_bit
from classifold.ingest.limits import UnreadableImageError, check_size

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Numbers of the specification, and of the extensions in use.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
UNSIGNED = 1
ALPHAS = {1: "a", 2: "A"}  # multiplied with the colors, or not
REDUCED_OR_MASK = 1 | 4
MISSING = 42113

# Codecs of bytes, whose output is bounded by the size of the strip. Those that hold images of their
# own, such as JPEG 2000, could unpack to any size.
CODECS = {
    **{1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 32773: "PackBits"},
    **{34925: "LZMA", 50000: "Zstandard"},
}

# It logs warnings about tags that have nothing to do with the pixels.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(encoded: bytes) -> bool:
    """Check whether a file begins like a TIFF."""
    return encoded.startswith(SIGNATURES)


def is_deep_tiff(encoded: bytes) -> bool:
    """Check whether the first image has more than 8 bits per channel, or signed values."""
    try:
        with _first_page(encoded) as (page, _):
            return page.bitspersample not in (1, 2, 4, 8) or page.sampleformat != UNSIGNED
    except Exception:  # damaged; Pillow may still read it, or knows a better reason
        return False


def read_tiff(encoded: bytes) -> DeepImage:
    """Read the first image of a TIFF.

    Raises:
        UnreadableImageError: if it is too large, or no picture.
        Exception: any other, if it is damaged.
    """
    with _first_page(encoded) as (page, animated):
        _check(page, n_bytes=len(encoded))
        planes = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (planes, H, W, samples)
        orientation = page.tags.valueof(ORIENTATION_TAG, default=1)
        missing = _number(page.tags.valueof(MISSING, default=None))
        photometric, bits, extra = page.photometric, page.bitspersample, page.extrasamples
        palette = page.colormap
    separate = len(planes) > 1
    values = np.moveaxis(planes[..., 0], 0, -1) if separate else planes[0]  # (H, W, samples)
    top = 2**bits - 1 if values.dtype.kind in "bu" and bits not in (16, 32, 64) else None
    n_colors, alpha = _channels(photometric, values.shape[2], extra)
    colors = values[..., 0] if n_colors == 1 else values[..., :n_colors]
    if photometric == PALETTE:
        # Some programs write 8-bit colors.
        eight_bit = palette if palette.max() <= 255 else scale_to_8_bit(palette, 65535)
        colors, top = np.moveaxis(eight_bit.astype(np.uint8)[:, values[..., 0]], 0, -1), 255
    elif photometric == CMYK:
        colors, top = scale_to_8_bit(colors, top), 255
    return DeepImage(
        values=colors,
        mode=_mode(colors) + alpha,
        top=top,
        alpha=scale_to_8_bit(values[..., n_colors], top) if alpha else None,
        inverted=photometric == WHITE_IS_ZERO,
        missing=missing,
        orientation=orientation if orientation in range(1, 9) else 1,
        animated=animated,
    )


@contextmanager
def _first_page(encoded: bytes) -> Iterator[tuple[Any, bool]]:
    """Open the first image; the flag says whether there are others that are no duplicates of it."""
    # Slow to import (with its codecs), and most data sets have no TIFF.
    import tifffile  # noqa: PLC0415

    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        try:
            animated = not file.pages[1].aspage().subfiletype & REDUCED_OR_MASK
        except Exception:  # there is none, or a damaged one
            animated = False
        yield file.pages[0], animated


def _check(page: Any, *, n_bytes: int) -> None:
    """Refuse what would exhaust memory, and strips that are missing."""
    codec = int(page.compression)
    if codec not in CODECS:
        known = ", ".join(dict.fromkeys(CODECS.values()))
        raise UnreadableImageError(
            f"a TIFF of {page.bitspersample} bits per channel with the compression "
            f"{getattr(page.compression, 'name', codec)}; {known} are read"
        )
    if page.dtype is None or page.dtype.kind not in "buif":
        raise UnreadableImageError(f"a TIFF with values of type {page.dtype}")
    if page.planarconfig not in (1, 2):
        raise UnreadableImageError(f"a TIFF with the planar configuration {page.planarconfig}")
    if page.imagedepth != 1:
        raise UnreadableImageError(f"a volume of {page.imagedepth} layers")
    samples = page.samplesperpixel
    check_size(page.imagewidth, page.imagelength, samples * page.dtype.itemsize)
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength, samples * page.dtype.itemsize)
    n_strips = math.prod(page.chunked)
    starts, sizes = page.dataoffsets[:n_strips], page.databytecounts[:n_strips]
    if not len(starts) == len(sizes) == n_strips or any(
        not (start > 0 and size > 0 and start + size <= n_bytes)
        for start, size in zip(starts, sizes, strict=True)
    ):
        raise UnreadableImageError("the file is incomplete: strips or tiles are missing")


def _channels(photometric: int, samples: int, extra: tuple[int, ...]) -> tuple[int, str]:
    """Count the color channels; the text is that of the alpha channel after them, if any."""
    alpha = ALPHAS.get(extra[0] if extra else 0, "")
    if photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO):
        # Programs for maps store RGB as three gray channels.
        if samples in (1, 3):
            return samples, ""
        if samples == 2 and alpha:
            return 1, alpha
        if samples == 4 and ALPHAS.get(extra[-1] if extra else 0):
            return 3, ALPHAS[extra[-1]]
    if photometric == PALETTE:
        return 3, ""
    if photometric == RGB and samples >= 3:
        # OpenCV stores alpha without saying so.
        return 3, "A" if samples == 4 and not extra else alpha if samples > 3 else ""
    if photometric == CMYK and samples >= 4:
        return 4, ""
    raise UnreadableImageError(
        f"a TIFF of {samples} channels with photometric interpretation {photometric}; gray, RGB "
        "and CMYK are read"
    )


def _mode(colors: np.ndarray) -> str:
    if colors.ndim == 3:
        return {3: "RGB", 4: "CMYK"}[colors.shape[2]]
    kind, size = colors.dtype.kind, colors.dtype.itemsize
    if size == 1:
        return "L"
    return "F" if kind == "f" else "I;16" if (kind, size) == ("u", 2) else "I"


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
