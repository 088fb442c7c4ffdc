"""Find the training images that are nearest to an image, and measure how unlike them it is.

The novelty of an image is its distance to the k-th nearest training image in the features of a
model, as one minus the cosine similarity: near 0 if training has several images like it. It orders
images as the Euclidean distance of the normalized features does, which Sun et al. use.

The threshold is that of a split conformal test: if the validation images and a new image are
exchangeable, the novelty of the new one is above it with a probability of at most
`FALSE_POSITIVE_RATE`.

Sources: Sun, Ming, Zhu, Li 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors",
arXiv:2204.06507; Bates, Candès, Lei, Romano, Sesia 2023, "Testing for outliers with conformal
p-values", arXiv:2104.08279.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

N_NEIGHBORS = 5  # of the novelty; where there are fewer training images, all of them
FALSE_POSITIVE_RATE = 0.05  # of images like the training images, the fraction above the threshold
MIN_IMAGES = 19  # to fit a threshold: 1 / FALSE_POSITIVE_RATE - 1

# Of similarities in float64, so that neither the order of equal training images nor the novelty
# depends on rounding errors, which differ with the number of images that are compared at once.
DECIMALS = 6
ROUNDING = 1e-9  # of a rank

IMAGES_AT_ONCE = 256  # with 10,000 training images: 10 MB of similarities


class Nearest(NamedTuple):
    """The nearest training images of N images, the nearest first."""

    rows: np.ndarray  # int64 (N, k): rows of the training images
    similarities: np.ndarray  # float64 (N, k): cosines, in [-1, 1]
    novelty: np.ndarray  # float64 (N,), in [0, 2]: one minus the similarity to number `N_NEIGHBORS`

    def subset(self, images: Sequence[int]) -> "Nearest":
        """Select images, in the order given."""
        return Nearest(*(values[images] for values in self))


def find_nearest(features: np.ndarray, train_rows: np.ndarray, *, k: int = N_NEIGHBORS) -> Nearest:
    """Find the k training images with the highest cosine similarity to each image.

    Of equally similar ones the first comes first. An image without any active feature has a
    similarity of 0 to all.

    Args:
        features: float array (N, n_features).
        train_rows: float64 array (n_train, n_features), as of `unit_rows`, n_train at least 1;
            there may be fewer than k.
        k: number of training images.
    """
    n_images, n_found = len(features), min(max(k, N_NEIGHBORS), len(train_rows))
    rows = np.empty((n_images, n_found), np.int64)
    similarities = np.empty((n_images, n_found))
    for start in range(0, n_images, IMAGES_AT_ONCE):
        chunk = slice(start, start + IMAGES_AT_ONCE)
        found = (unit_rows(features[chunk]) @ train_rows.T).clip(-1, 1).round(DECIMALS)
        rows[chunk] = np.argsort(-found, axis=1, kind="stable")[:, :n_found]
        similarities[chunk] = np.take_along_axis(found, rows[chunk], axis=1)
    novelty = (1 - similarities[:, min(N_NEIGHBORS, n_found) - 1]).round(DECIMALS)
    return Nearest(rows[:, :k], similarities[:, :k], novelty)


def fit_novelty_threshold(novelty: np.ndarray) -> float | None:
    """Find the novelty that a new image like the given ones exceeds in at most 5 % of cases.

    Args:
        novelty: float array (N,), of images that are no training images.

    Returns:
        The ceil((N + 1) * 0.95)-th lowest value; None if N is below `MIN_IMAGES`.
    """
    if len(novelty) < MIN_IMAGES:
        return None
    rank = math.ceil((len(novelty) + 1) * (1 - FALSE_POSITIVE_RATE) - ROUNDING)
    return float(np.sort(novelty)[rank - 1])


def unit_rows(features: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, as float64; rows of zeros stay."""
    values = np.asarray(features, np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)
