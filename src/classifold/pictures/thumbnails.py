"""Open images of the table at about the size at which they are shown."""

import io
from collections.abc import Collection, Iterator
from pathlib import Path

from PIL import Image

from classifold.data.image_table import iter_images
from classifold.data.orientation import turn_upright


def open_images(
    ingested: Path, ids: Collection[str], *, side: int
) -> Iterator[tuple[str, Image.Image]]:
    """Open images of the table, in its order, one at a time.

    Args:
        ingested: folder of the image table.
        ids: ids of the images wanted.
        side: pixels to which they will be shrunk; at least twice this size is decoded where the
            image is that large.
    """
    for image_id, encoded in iter_images(ingested, ids):
        with Image.open(io.BytesIO(encoded)) as image:
            # A JPEG may be decoded at a fraction of its size, many times faster.
            image.draft("RGB", (side * 2, side * 2))
            yield image_id, turn_upright(image).convert("RGB")


def fit_into(image: Image.Image, *, side: int) -> Image.Image:
    """Fit an image into a square of `side` pixels; its aspect ratio stays.

    A small image is enlarged by an integer factor, so that its pixels stay square.
    """
    factor = side // max(image.size)
    if factor > 1:
        size = (image.width * factor, image.height * factor)
        return image.resize(size, Image.Resampling.NEAREST)
    scale = min(side / max(image.size), 1)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2)
