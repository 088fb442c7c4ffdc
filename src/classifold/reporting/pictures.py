"""Images embedded in a page as data: URIs."""

import base64
import io
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from classifold.pictures.thumbnails import fit_into, open_images

THUMBNAIL_SIDE = 96  # pixels, at most
MAX_CHARACTERS = 80  # length of a line below an image
QUALITY = 80  # quality of WebP, 0 to 100
QUALITY_OF_FIGURES = 90  # with text


class Picture(NamedTuple):
    """An image of a gallery with its caption; the text is not escaped yet."""

    uri: str
    alt: str
    lines: list[str]  # the caption; the first is the title


def to_uri(image: Image.Image, *, side: int = THUMBNAIL_SIDE) -> str:
    """Encode an RGB image as WebP, at most `side` pixels wide and high.

    An image that is enlarged is encoded without loss, so that its pixels stay sharp squares.
    """
    thumbnail = fit_into(image, side=side)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "WEBP", lossless=thumbnail.width > image.width, quality=QUALITY)
    return _uri("image/webp", buffer.getvalue())


def pixels_to_uri(pixels: np.ndarray) -> str:
    """Encode uint8 pixels (height, width, 3) as WebP, see `to_uri`."""
    return to_uri(Image.fromarray(pixels))


def file_to_uri(path: Path, *, lossy: bool = False) -> tuple[str, int, int]:
    """Encode a PNG file; returns the URI, width and height.

    Args:
        path: PNG file.
        lossy: encode it as WebP with small losses, for many photos an eighth of the size; else
            the file is unchanged.
    """
    with Image.open(path) as image:
        width, height = image.size
        if not lossy:
            return _uri("image/png", path.read_bytes()), width, height
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "WEBP", quality=QUALITY_OF_FIGURES)
    return _uri("image/webp", buffer.getvalue()), width, height


def thumbnails(
    ingested: Path, ids: Collection[str], *, side: int = THUMBNAIL_SIDE
) -> dict[str, str]:
    """Make thumbnails of images in the image table: id -> data: URI.

    Thumbnails keep the aspect ratio.
    """
    images = open_images(ingested, ids, side=side)
    return {image_id: to_uri(image, side=side) for image_id, image in images}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
