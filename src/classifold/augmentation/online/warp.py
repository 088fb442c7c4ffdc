"""Flip, turn, scale, shear, shift and crop images, each by one affine matrix.

A matrix (3, 3) maps a pixel of the result to where it comes from, both measured in pixels of the
result from the image's centre, x to the right and y down. Steps that follow one another are
multiplied: `first @ second`, since the result is looked up backwards. Whatever a policy does to
the geometry of an image is thus one interpolation.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# OpenCV's codes; its flip is five times as fast as NumPy's reversed views.
FLIPS = {"none": None, "horizontal": 1, "vertical": 0, "both": -1}

# How what lies outside of an image is filled: by OpenCV, by torch.
BORDERS = {
    "reflect": (cv2.BORDER_REFLECT_101, "reflection"),
    "edge": (cv2.BORDER_REPLICATE, "border"),
    "black": (cv2.BORDER_CONSTANT, "zeros"),
}


def identity(n_images: int) -> np.ndarray:
    """Matrices (N, 3, 3) that change nothing."""
    return np.tile(np.eye(3), (n_images, 1, 1))


def scalings(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Matrices that enlarge by factors (N,) to the side and up; a negative one mirrors."""
    matrices = identity(len(x))
    matrices[:, 0, 0], matrices[:, 1, 1] = 1 / x, 1 / y
    return matrices


def rotations(degrees: np.ndarray) -> np.ndarray:
    """Matrices that turn by angles (N,) counter-clockwise."""
    matrices = identity(len(degrees))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine, -sine
    matrices[:, 1, 0], matrices[:, 1, 1] = sine, cosine
    return matrices


def shears(degrees: np.ndarray) -> np.ndarray:
    """Matrices that slant by angles (N,) as Keras does: columns slide up, and widen a little."""
    matrices = identity(len(degrees))
    matrices[:, 0, 0] = np.cos(np.radians(degrees))
    matrices[:, 1, 0] = -np.sin(np.radians(degrees))
    return matrices


def slants(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Matrices that slide rows to the side by x (N,) a row, and columns down by y a column."""
    matrices = identity(len(x))
    matrices[:, 0, 1], matrices[:, 1, 0] = -x, -y
    return matrices


def shifts(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Matrices that move by pixels (N,) to the right and down."""
    matrices = identity(len(x))
    matrices[:, 0, 2], matrices[:, 1, 2] = -x, -y
    return matrices


def flip(pixels: np.ndarray, name: str) -> np.ndarray:
    """Mirror an image (H, W, C): left-right `horizontal`, top-bottom `vertical`, or `both`."""
    code = FLIPS[name]
    return pixels if code is None else cv2.flip(pixels, code)


def warp_arrays(
    images: Sequence[np.ndarray] | np.ndarray, matrices: np.ndarray, *, size: int, fill: str
) -> np.ndarray:
    """Warp each image by its matrix, with linear interpolation, on the CPU.

    OpenCV works outside of torch's threads, which collapse when others use their cores.

    Args:
        images: uint8 arrays (H, W, 3).
        matrices: (N, 3, 3), in pixels of the result; that an image has another size than the
            result is accounted for.
        size: width and height of the result.
        fill: a key of `BORDERS`.

    Returns:
        uint8 array (N, size, size, 3).
    """
    border, _ = BORDERS[fill]
    result = np.empty((len(images), size, size, 3), np.uint8)
    shapes = np.array([image.shape[1::-1] for image in images]).reshape(-1, 2)  # width, height
    lookups = matrices[:, :2] * (shapes / size)[:, :, None]
    # From the image's centre to its corner; pixel centres are at whole numbers.
    middle = np.full(2, (size - 1) / 2)
    lookups[:, :, 2] += (shapes - 1) / 2 - lookups[:, :, :2] @ middle
    # Flips and shifts by whole pixels have nothing to interpolate, and are done sooner without.
    whole = (lookups == np.rint(lookups)).all((1, 2))
    # OpenCV warps four channels in half the time of three, and to the same values.
    warped = np.empty((size, size, 4), np.uint8)
    for i, image in enumerate(images):
        four = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2RGBA)
        filter_ = cv2.INTER_NEAREST if whole[i] else cv2.INTER_LINEAR
        flags = filter_ | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(four, lookups[i], (size, size), warped, flags, border)
        cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, result[i])
    return result


def warp_tensors(images: Tensor, matrices: np.ndarray, *, size: int, fill: str) -> Tensor:
    """Warp each image by its matrix, as `warp_arrays` does, in one batch on any device.

    Args:
        images: float tensor (N, 3, H, W).
        matrices: (N, 3, 3), in pixels of the result.
        size: width and height of the result.
        fill: a key of `BORDERS`.

    Returns:
        float tensor (N, 3, size, size); values stay in their range.
    """
    _, padding = BORDERS[fill]
    height, width = images.shape[-2:]
    theta = matrices[:, :2].copy()
    theta *= np.array([[width / size], [height / size]])
    # Corners of the grid are at -1 and 1, in the source as in the result.
    theta[:, :, :2] *= (size - 1) / 2
    theta *= np.array([[2 / max(width - 1, 1)], [2 / max(height - 1, 1)]])
    lookup = torch.from_numpy(theta).to(images)
    # The channels_last order of the input would be lost in the grid's shape alone.
    grid = F.affine_grid(lookup, [len(images), 3, size, size], align_corners=True)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=True)
