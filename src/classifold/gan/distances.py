"""Distances between two sets of images in a feature space."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min, pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the squared Fréchet distance between normal distributions fitted to two sets.

    It is biased: for two samples of one distribution it is above 0, and larger for smaller
    samples. Compare it only between sets of the same size.

    Args:
        first: float array (N, n_features).
        second: float array (M, n_features).

    Returns:
        The squared distance of the means, plus a distance of the covariances.

    Source: Dowson and Landau 1982, J. Multivariate Analysis 12, 450-455; of features of images
    Heusel et al. 2017, arXiv:1706.08500.
    """
    (mean1, covariance1), (mean2, covariance2) = (
        (features.mean(0, dtype=np.float64), np.atleast_2d(np.cov(features, rowvar=False)))
        for features in (first, second)
    )
    # The trace of the root of a product equals that of a symmetric product, which is real, and
    # stable if a covariance is singular.
    values, vectors = np.linalg.eigh(covariance1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(0)).sum()
    apart = np.square(mean1 - mean2).sum() + np.trace(covariance1) + np.trace(covariance2)
    return float(max(apart - 2 * shared, 0))


def precision_recall(
    reference: np.ndarray, generated: np.ndarray, *, neighbors: int
) -> tuple[float, float]:
    """Compute precision and recall of generated images.

    Each image has a ball with the radius of the distance to its k-th nearest neighbor of the same
    set. Precision is the fraction of generated images that are in a ball of the reference, recall
    the fraction of the reference that is in a ball of the generated images.

    Args:
        reference: float array (N, n_features).
        generated: float array (M, n_features).
        neighbors: k; both sets are larger.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    return (
        _fraction_covered(generated, by=reference, neighbors=neighbors),
        _fraction_covered(reference, by=generated, neighbors=neighbors),
    )


def nearest_distance(points: np.ndarray, *, to: np.ndarray) -> float:
    """Compute the median distance of points to the nearest of other points.

    Args:
        points: float array (N, n_features).
        to: float array (M, n_features).
    """
    _, distances = pairwise_distances_argmin_min(points, to)
    return float(np.median(distances))


def _fraction_covered(points: np.ndarray, *, by: np.ndarray, neighbors: int) -> float:
    # The nearest neighbor of a point in its own set is the point itself.
    nearest = NearestNeighbors(n_neighbors=neighbors + 1, algorithm="brute").fit(by)
    radii = nearest.kneighbors(by)[0][:, -1]
    covered = [(chunk <= radii).any(1) for chunk in pairwise_distances_chunked(points, by)]
    return float(np.concatenate(covered).mean())
