"""Embed points in the plane by t-SNE (van der Maaten & Hinton 2008)."""

from typing import NamedTuple

import numpy as np
import openTSNE
from numpy.typing import DTypeLike
from sklearn.decomposition import PCA, KernelPCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from classifold.data.seeding import generator

EXPLAINED_VARIANCE = 0.9  # report 000, section 8.3
N_NEIGHBORS = 10

# For more points openTSNE's interpolation (Linderman et al. 2019) replaces scikit-learn's
# Barnes-Hut tree, and a randomized PCA the full one, which would take hours and gigabytes.
MAX_POINTS_EXACT = 10_000
MAX_COMPONENTS = 500  # number of components of the randomized PCA
MAX_POINTS_TRUSTWORTHINESS = 5_000  # it needs the distances of all pairs


class Embedding(NamedTuple):
    """Points in the plane, and how well they represent the original space."""

    points: np.ndarray  # float32 (N, 2)
    kl_divergence: float
    trustworthiness: float  # in [0, 1]: whether neighbors here are neighbors in the original space


def pixels_as_points(images: np.ndarray) -> np.ndarray:
    """Convert images, uint8 (N, H, W, 3), to points (N, H * W * 3) in [0, 1]."""
    pixels = images.reshape(len(images), -1)
    return np.divide(pixels, 255, dtype=_float_type(len(images)))


def reduce_dimensions(points: np.ndarray, *, seed: int) -> np.ndarray:
    """Project points onto the principal components that explain 90 % of their variance.

    For more than 10,000 points the components are computed by randomized projection, at most 500
    (for pixels of photographs about a hundred explain 90 %).

    Args:
        points: float array (N, n_features); of many in float32, overwritten.
        seed: seed of the random projections.

    Returns:
        float array (N, n_components); points that are all equal are returned unchanged.
    """
    if np.ptp(points, axis=0).max() == 0:
        return points
    points = points.astype(_float_type(len(points)), copy=False)
    if len(points) <= MAX_POINTS_EXACT and len(points) < points.shape[1]:
        # The same components from the products of all pairs, without a matrix of all features.
        pca = KernelPCA(kernel="linear", eigen_solver="dense")
        projected = pca.fit_transform(points)
        return _explaining(projected, pca.eigenvalues_ / pca.eigenvalues_.sum())
    if len(points) <= MAX_POINTS_EXACT:
        pca = PCA(EXPLAINED_VARIANCE, svd_solver="full")
        return pca.fit_transform(points)
    n_components = min(MAX_COMPONENTS, *points.shape)
    pca = PCA(n_components, svd_solver="randomized", random_state=seed, copy=False)
    projected = pca.fit_transform(points)
    return _explaining(projected, pca.explained_variance_ratio_)


def _float_type(n_points: int) -> DTypeLike:
    """Return the type in which points are projected: with many points memory counts."""
    return np.float64 if n_points <= MAX_POINTS_EXACT else np.float32


def _explaining(projected: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Return the first components, that explain 90 % of the variance, given their fractions."""
    return projected[:, : int(np.searchsorted(np.cumsum(ratios), EXPLAINED_VARIANCE)) + 1]


def embed(points: np.ndarray, *, perplexity: float, seed: int) -> Embedding:
    """Embed points in the plane.

    Points are initialized with the first two components, so that maps of several perplexities are
    similar. One thread makes the result reproducible.

    Args:
        points: float array (N, n_features), with few features.
        perplexity: below N / 3.
        seed: seed of t-SNE.
    """
    # Points that are equal or on a line have no two components.
    initialization = (
        "pca" if points.shape[1] >= 2 and np.ptp(points, axis=0).max() > 0 else "random"
    )
    if len(points) > MAX_POINTS_EXACT:
        result = openTSNE.TSNE(
            perplexity=perplexity, initialization=initialization, random_state=seed, n_jobs=1
        ).fit(points)
        embedded, kl_divergence = np.asarray(result, np.float32), result.kl_divergence
    else:
        tsne = TSNE(perplexity=perplexity, init=initialization, random_state=seed)
        with threadpool_limits(1):  # else it uses the number of OpenMP threads that torch has set
            embedded = tsne.fit_transform(points)
        kl_divergence = tsne.kl_divergence_
    sample = generator(seed, "judged").permutation(len(points))[:MAX_POINTS_TRUSTWORTHINESS]
    trust = trustworthiness(
        points[sample], embedded[sample], n_neighbors=min(N_NEIGHBORS, len(sample) // 2 - 1)
    )
    return Embedding(embedded, float(kl_divergence), float(trust))
