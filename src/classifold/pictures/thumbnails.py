"""Images of the table, small: opened at about the size at which they are shown."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path

from PIL import Image

from classifold.data.image_table import iter_images


def open_images(
    ingested: Path, ids: Collection[str], *, side: int
) -> Iterator[tuple[str, Image.Image]]:
    """Open images of the table, in its order, one at a time.

    Args:
        ingested: folder of the image table.
        ids: of the images wanted.
        side: they will be shrunk to so many pixels; at least twice as many are decoded, if
            there are.
    """
    for image_id, encoded in iter_images(ingested, ids):
        with Image.open(io.BytesIO(encoded)) as image:
            # A JPEG may be decoded at a fraction of its size, many times faster.
            image.draft("RGB", (side * 2, side * 2))
            yield image_id, image.convert("RGB")


def fit_into(image: Image.Image, *, side: int) -> Image.Image:
    """Fit into a square of `side` pixels; proportions stay.

    A small image is enlarged by a whole factor: its pixels stay squares.
    """
    factor = side // max(image.size)
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    scale = min(side / max(image.size), 1)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)
