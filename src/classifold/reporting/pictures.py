"""Pictures inside the page, as data: URIs."""

import base64
import io
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from classifold.pictures.thumbnails import fit_into, open_images

MOST_PIXELS = 96  # a side of a thumbnail
QUALITY = 80


class Picture(NamedTuple):
    """A picture with its words, for a gallery; all text as it came, unescaped."""

    uri: str
    alt: str
    lines: list[str]  # the caption; the first is the title


def to_uri(image: Image.Image, *, side: int = MOST_PIXELS) -> str:
    """Encode an RGB image as WebP, at most `side` pixels wide and high.

    One that is enlarged is encoded without loss: its pixels stay squares, where a browser would
    blur them.
    """
    thumbnail = fit_into(image, side=side)
    buffer = io.BytesIO()
    thumbnail.save(buffer, "WEBP", lossless=thumbnail.width > image.width, quality=QUALITY)
    return _uri("image/webp", buffer.getvalue())


def pixels_to_uri(pixels: np.ndarray) -> str:
    """Encode uint8 pixels (height, width, 3) as `to_uri` does."""
    return to_uri(Image.fromarray(pixels))


def file_to_uri(path: Path) -> tuple[str, int, int]:
    """Embed a PNG file as it is; its width and height come along."""
    with Image.open(path) as image:
        width, height = image.size
    return _uri("image/png", path.read_bytes()), width, height


def thumbnails(ingested: Path, ids: Collection[str], *, side: int = MOST_PIXELS) -> dict[str, str]:
    """Make thumbnails of images in the table: id -> data: URI.

    Proportions stay: a long image is a long thumbnail.
    """
    images = open_images(ingested, ids, side=side)
    return {image_id: to_uri(image, side=side) for image_id, image in images}


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
