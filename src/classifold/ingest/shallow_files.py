"""Load 8-bit images, and correct what Pillow leaves to its callers."""

from typing import NamedTuple

from PIL import Image

from classifold.data.orientation import read_orientation, turn_upright

PNG_DEPTH = 24  # the position of the byte in a file


class Loaded(NamedTuple):
    """An upright image in any 8-bit mode."""

    image: Image.Image
    mode: str  # mode of the file
    turned: bool  # whether it was turned or mirrored as EXIF requires
    animated: bool  # whether it had several frames; this is the first


def load(image: Image.Image, encoded: bytes) -> Loaded:
    """Load the pixels of an opened image.

    Args:
        image: as Pillow opened it.
        encoded: its file.
    """
    # JPEG decoders ignore further images of an MPO (a JPEG of a phone).
    animated = image.format != "MPO" and getattr(image, "is_animated", False)
    # Loading a TIFF turns it and removes the tag.
    turned = image.format == "TIFF" and read_orientation(image) != 1
    # Loading a GIF forgets which part of it the first frame covers.
    covered = image.tile[0][1] if image.format == "GIF" else None  # type: ignore[attr-defined]
    image.load()
    mode = image.mode
    if covered and covered != (0, 0, *image.size):
        image = _clear_outside(image, covered)
    elif image.format == "PNG":
        _scale_transparent_gray(image, depth=encoded[PNG_DEPTH])
    upright = turn_upright(image)
    return Loaded(upright, mode, turned or upright is not image, animated)


def _clear_outside(image: Image.Image, covered: tuple[int, int, int, int]) -> Image.Image:
    """Make transparent what the first frame of an animation does not cover."""
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(covered).convert("RGBA"), covered[:2])
    return canvas


def _scale_transparent_gray(image: Image.Image, *, depth: int) -> None:
    """Scale the gray that a PNG of 2 or 4 bits declares as transparent, like its pixels."""
    transparent = image.info.get("transparency")
    if depth in (2, 4) and image.mode == "L" and isinstance(transparent, int):
        image.info["transparency"] = transparent * 255 // (2**depth - 1)
