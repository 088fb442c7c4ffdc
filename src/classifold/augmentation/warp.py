"""Flip, rotate and scale one image in one go."""

import cv2
import numpy as np

FLIPS = {"none": (1, 1), "horizontal": (-1, 1), "vertical": (1, -1), "both": (-1, -1)}

BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "edge": cv2.BORDER_REPLICATE,
    "black": cv2.BORDER_CONSTANT,
}


def flip(pixels: np.ndarray, name: str) -> np.ndarray:
    """Mirror an image (H, W, C): left-right `horizontal`, top-bottom `vertical`, or `both`."""
    columns, rows = FLIPS[name]
    return pixels[::rows, ::columns]


def warp(pixels: np.ndarray, *, degrees: float, scale: float, fill: str) -> np.ndarray:
    """Rotate counter-clockwise and scale about the image's centre, with linear interpolation.

    Args:
        pixels: uint8 array (H, W, 3).
        degrees: angle of the rotation.
        scale: below 1 the picture shrinks and the border is filled.
        fill: a key of `BORDERS`.

    Returns:
        uint8 array of the same shape.
    """
    height, width = pixels.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)  # pixel centres are at whole numbers
    matrix = cv2.getRotationMatrix2D(centre, degrees, scale)
    return cv2.warpAffine(
        np.ascontiguousarray(pixels),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=BORDERS[fill],
    )
