"""Limits that keep the decoding of an image from exhausting the memory."""

from collections.abc import Iterator

# Images with more pixels are refused before they are decoded (a decompression bomb of a few
# kilobytes can unpack to gigabytes). 64 million pixels are 192 MB as RGB.
MAX_PIXELS = 64_000_000

# Stored values of more bytes are refused: those of an image of MAX_PIXELS in RGB with 16 bits, or
# of a smaller one in RGB floats.
MAX_BYTES = 6 * MAX_PIXELS

OUT_OF_MEMORY = "decoding takes more memory than there is"

# Pixels are converted in bands of rows, so that temporary arrays and images are small.
PIXELS_PER_BAND = 2**20


class UnreadableImageError(ValueError):
    """Raised for bytes that are no image, a damaged one, or one too large to open safely."""


def check_size(width: int, height: int, bytes_per_pixel: int = 1) -> None:
    """Raise an UnreadableImageError for an image without pixels, or with too many for memory."""
    if min(width, height) < 1:
        raise UnreadableImageError(f"{width} x {height} pixels")
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width} x {height} pixels; the maximum is {MAX_PIXELS:,}")
    if width * height * bytes_per_pixel > MAX_BYTES:
        raise UnreadableImageError(
            f"{width} x {height} pixels of {bytes_per_pixel} bytes; the maximum is {MAX_BYTES:,} "
            "bytes"
        )


def row_bands(width: int, height: int) -> Iterator[slice]:
    """Divide the rows of an image into bands of about PIXELS_PER_BAND."""
    n_rows = max(1, PIXELS_PER_BAND // max(1, width))
    return (slice(top, min(top + n_rows, height)) for top in range(0, height, n_rows))
