"""How far two sets of images lie apart, by features of theirs."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin_min, pairwise_distances_chunked
from sklearn.neighbors import NearestNeighbors


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared distance of Fréchet between the normal distributions that fit two sets best.

    It is biased: of two samples of one distribution it is above 0, the more so the fewer they
    are. Compare it between sets of the same number of images alone.

    Args:
        first: float array (N, n_features).
        second: float array (M, n_features).

    Returns:
        The squared distance of the means, plus what the covariances differ by.

    Source: Dowson and Landau 1982, J. Multivariate Analysis 12, 450-455; of features of images
    Heusel et al. 2017, arXiv:1706.08500.
    """
    (mean1, covariance1), (mean2, covariance2) = (
        (features.mean(0, dtype=np.float64), np.atleast_2d(np.cov(features, rowvar=False)))
        for features in (first, second)
    )
    # The trace of the root of a product is that of a symmetric product's: real, and stable
    # where a covariance is singular.
    values, vectors = np.linalg.eigh(covariance1)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(0)).sum()
    apart = np.square(mean1 - mean2).sum() + np.trace(covariance1) + np.trace(covariance2)
    return float(max(apart - 2 * shared, 0))


def precision_recall(
    reference: np.ndarray, made: np.ndarray, *, neighbours: int
) -> tuple[float, float]:
    """How much of what was made looks like the reference, and how much of it was made.

    Around each image lies a ball that reaches to its nearest neighbours of the same set.
    Precision is the share of what was made that lies in a ball of the reference, recall the
    share of the reference that lies in a ball of what was made.

    Args:
        reference: float array (N, n_features).
        made: float array (M, n_features).
        neighbours: to which one a ball reaches; both sets are larger.

    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    return (
        _share_covered(made, by=reference, neighbours=neighbours),
        _share_covered(reference, by=made, neighbours=neighbours),
    )


def nearest_distance(points: np.ndarray, *, to: np.ndarray) -> float:
    """The median distance of points to the nearest of others.

    Args:
        points: float array (N, n_features).
        to: float array (M, n_features).
    """
    _, distances = pairwise_distances_argmin_min(points, to)
    return float(np.median(distances))


def _share_covered(points: np.ndarray, *, by: np.ndarray, neighbours: int) -> float:
    # The nearest neighbour of a point among its own set is the point.
    nearest = NearestNeighbors(n_neighbors=neighbours + 1, algorithm="brute").fit(by)
    radii = nearest.kneighbors(by)[0][:, -1]
    covered = [(part <= radii).any(1) for part in pairwise_distances_chunked(points, by)]
    return float(np.concatenate(covered).mean())
