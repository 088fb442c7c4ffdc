"""Flip, rotate, scale, shear, shift and crop images, each by one affine matrix.

A matrix (3, 3) maps a pixel of the result to its source, both in pixels of the result relative to
the image's center, x to the right and y down. The matrices of consecutive steps are multiplied as
`first @ second`, since the mapping is from result to source. All geometric steps of a policy are
thus one interpolation.
"""

from collections.abc import Sequence

import cv2
import numpy as np

# OpenCV's codes; its flip is five times faster than NumPy's reversed views.
FLIPS = {"none": None, "horizontal": 1, "vertical": 0, "both": -1}

# The fill of pixels outside of the image: in OpenCV, in torch.
BORDERS = {
    "reflect": (cv2.BORDER_REFLECT_101, "reflection"),
    "edge": (cv2.BORDER_REPLICATE, "border"),
    "black": (cv2.BORDER_CONSTANT, "zeros"),
}


def identity(n_images: int) -> np.ndarray:
    """Make matrices (N, 3, 3) that change nothing."""
    return np.tile(np.eye(3), (n_images, 1, 1))


def scalings(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Make matrices that enlarge by factors (N,) along x and y; a negative one mirrors."""
    matrices = identity(len(x))
    matrices[:, 0, 0], matrices[:, 1, 1] = 1 / x, 1 / y
    return matrices


def rotations(degrees: np.ndarray) -> np.ndarray:
    """Make matrices that rotate by angles (N,) counter-clockwise."""
    matrices = identity(len(degrees))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrices[:, 0, 0], matrices[:, 0, 1] = cosine, -sine
    matrices[:, 1, 0], matrices[:, 1, 1] = sine, cosine
    return matrices


def shears(degrees: np.ndarray) -> np.ndarray:
    """Make matrices that shear by angles (N,) as Keras does: along y, widening by 1/cos."""
    matrices = identity(len(degrees))
    matrices[:, 0, 0] = np.cos(np.radians(degrees))
    matrices[:, 1, 0] = -np.sin(np.radians(degrees))
    return matrices


def slants(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Make matrices that shear along x by x (N,) pixels per row, along y by y per column."""
    matrices = identity(len(x))
    matrices[:, 0, 1], matrices[:, 1, 0] = -x, -y
    return matrices


def shifts(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Make matrices that shift by pixels (N,) to the right and down."""
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

    OpenCV does not use torch's threads, which slow down when other threads use their cores.

    Args:
        images: uint8 arrays (H, W, 3).
        matrices: (N, 3, 3), in pixels of the result; images may have another
            size than the result.
        size: width and height of the result.
        fill: a key of `BORDERS`.

    Returns:
        uint8 array (N, size, size, 3).
    """
    border, _ = BORDERS[fill]
    result = np.empty((len(images), size, size, 3), np.uint8)
    shapes = np.array([image.shape[1::-1] for image in images]).reshape(-1, 2)  # width, height
    lookups = matrices[:, :2] * (shapes / size)[:, :, None]
    # Origin at the image's corner instead of its center; pixel centers are at integers.
    middle = np.full(2, (size - 1) / 2)
    lookups[:, :, 2] += (shapes - 1) / 2 - lookups[:, :, :2] @ middle
    # Flips and shifts by whole pixels need no interpolation, and are faster without it.
    whole = (lookups == np.rint(lookups)).all((1, 2))
    # OpenCV warps four channels in half the time of three, with the same values.
    warped = np.empty((size, size, 4), np.uint8)
    for i, image in enumerate(images):
        four = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2RGBA)
        filter_ = cv2.INTER_NEAREST if whole[i] else cv2.INTER_LINEAR
        flags = filter_ | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(four, lookups[i], (size, size), warped, flags, border)
        cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, result[i])
    return result
