"""Turn images upright, as their EXIF orientation requires."""

import warnings

from PIL import Image

ORIENTATION_TAG = 0x0112  # of EXIF and TIFF

METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns of unusual metadata in files whose pixels are intact.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def read_orientation(image: Image.Image) -> int:
    """Read the orientation of an image: 2 to 8 if it is to be turned or mirrored, and else 1.

    An image must be loaded first, except for a TIFF, which Pillow turns while it loads it: a PNG
    may have metadata after its pixels.
    """
    _correct_xmp(image)
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata make Pillow raise any exception
        return 1
    return orientation if orientation in METHODS else 1


def turn_upright(image: Image.Image) -> Image.Image:
    """Load an image, and turn it as its orientation requires; an upright one is returned itself.

    `ImageOps.exif_transpose` also writes all EXIF again, which fails if any of it is unusual.
    """
    _correct_xmp(image)
    image.load()
    method = METHODS.get(read_orientation(image))
    return image if method is None else image.transpose(method)


def _correct_xmp(image: Image.Image) -> None:
    """Convert the XMP of a TIFF to bytes, as Pillow requires; remove it unless it is text."""
    xmp = image.info.get("xmp", b"")
    if isinstance(xmp, str):
        image.info["xmp"] = xmp.encode()
    elif not isinstance(xmp, bytes):
        del image.info["xmp"]
