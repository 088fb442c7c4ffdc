"""Change the colors of images, each by one matrix.

A matrix (3, 4) computes each channel of the result from the three channels, in [0, 255], and a
constant. The matrices of consecutive steps are multiplied, and values are clipped to [0, 255] once,
at the end.
"""

from itertools import permutations

import cv2
import numpy as np

from classifold.data.pixels import LUMA

MIDDLE_GRAY = 127.5

ORDERS = np.array(list(permutations(range(3))))

# Luminance and two color differences (YIQ, NTSC 1953), in which a hue is an angle.
TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def identity_colors(n_images: int) -> np.ndarray:
    """Make matrices (N, 3, 4) that change nothing."""
    return np.tile(np.eye(3, 4), (n_images, 1, 1))


def then(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine matrices (N, 3, 4) into those that apply `first`, then `second`."""
    combined = second[:, :, :3] @ first
    combined[:, :, 3] += second[:, :, 3]
    return combined


def shifted(levels: np.ndarray) -> np.ndarray:
    """Make matrices that add gray levels (N, 3) to the channels."""
    matrices = identity_colors(len(levels))
    matrices[:, :, 3] = levels
    return matrices


def shuffled(orders: np.ndarray) -> np.ndarray:
    """Make matrices that permute the channels: (N,) indices of `ORDERS`; 0 is no change."""
    matrices = np.zeros((len(orders), 3, 4))
    matrices[:, :, :3] = np.eye(3)[ORDERS[orders]]
    return matrices


def brightened(factors: np.ndarray) -> np.ndarray:
    """Make matrices that multiply all channels by factors (N,): 0 is black."""
    return identity_colors(len(factors)) * factors[:, None, None]


def contrasted(factors: np.ndarray) -> np.ndarray:
    """Make matrices that scale contrast about middle gray by factors (N,): 0 is plain gray."""
    matrices = brightened(factors)
    matrices[:, :, 3] = (1 - factors[:, None]) * MIDDLE_GRAY
    return matrices


def saturated(factors: np.ndarray) -> np.ndarray:
    """Make matrices that blend with the gray image by factors (N,): 0 is gray, 1 no change."""
    matrices = brightened(factors)
    matrices[:, :, :3] += (1 - factors[:, None, None]) * LUMA
    return matrices


def hued(degrees: np.ndarray) -> np.ndarray:
    """Make matrices that rotate hues by angles (N,) and keep luminance."""
    turns = np.tile(np.eye(3), (len(degrees), 1, 1))
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turns[:, 1, 1], turns[:, 1, 2] = cosine, -sine
    turns[:, 2, 1], turns[:, 2, 2] = sine, cosine
    matrices = identity_colors(len(degrees))
    matrices[:, :, :3] = np.linalg.inv(TO_YIQ) @ turns @ TO_YIQ
    return matrices


def recolor_arrays(images: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Recolor each image, uint8 (N, H, W, 3), by its matrix, in place."""
    for image, matrix in zip(images, matrices, strict=True):
        cv2.transform(image, matrix, dst=image)
    return images
