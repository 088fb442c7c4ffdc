"""One t-SNE (van der Maaten & Hinton 2008): by one algorithm for few points, another for many."""

from typing import NamedTuple

import numpy as np
import openTSNE
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from threadpoolctl import threadpool_limits

from classifold.data.seeding import generator

VARIANCE_KEPT = 0.9  # report 000, section 8.3
NEIGHBOURS = 10

# From more points on openTSNE's interpolation (Linderman et al. 2019) takes the place of
# scikit-learn's Barnes-Hut tree, and the full decomposition would take hours and gigabytes.
MANY = 10_000
MOST_COMPONENTS = 500  # of many points
MOST_JUDGED = 5_000  # points whose distances to one another are all looked at


class Embedding(NamedTuple):
    """Points of the plane, and how well they tell of the space that they come from."""

    points: np.ndarray  # float32 (N, 2)
    kl_divergence: float
    trustworthiness: float  # in [0, 1]: whether neighbours here are neighbours in truth


def reduce_dimensions(points: np.ndarray, *, seed: int) -> np.ndarray:
    """Project points onto the principal components that hold 90 % of their variance.

    Of more than 10,000 points the components are found by randomized projection, the strongest
    500 at most (in pixels of photographs some hundred hold 90 %).

    Args:
        points: float array (N, n_features).
        seed: of the random projections.

    Returns:
        float array (N, n_components); points that are all equal come back as they are.
    """
    if np.ptp(points, axis=0).max() == 0:
        return points
    if len(points) <= MANY:
        pca = PCA(VARIANCE_KEPT, svd_solver="full")
        return pca.fit_transform(points.astype(np.float64))
    n_components = min(MOST_COMPONENTS, *points.shape)
    pca = PCA(n_components, svd_solver="randomized", random_state=seed)
    projected = pca.fit_transform(points.astype(np.float32))
    shares = np.cumsum(pca.explained_variance_ratio_)  # of the whole variance
    return projected[:, : int(np.searchsorted(shares, VARIANCE_KEPT)) + 1]


def embed(points: np.ndarray, *, perplexity: float, seed: int) -> Embedding:
    """Embed points in the plane.

    The first two components are the start, so that maps of several perplexities look alike; all
    is computed in one thread, so that it repeats.

    Args:
        points: float array (N, n_features), of few dimensions.
        perplexity: below N / 3.
        seed: of t-SNE.
    """
    # Nothing to start from where points are equal or on a line.
    start = "pca" if points.shape[1] >= 2 and np.ptp(points, axis=0).max() > 0 else "random"
    if len(points) > MANY:
        found = openTSNE.TSNE(
            perplexity=perplexity, initialization=start, random_state=seed, n_jobs=1
        ).fit(points)
        embedded, kl_divergence = np.asarray(found, np.float32), found.kl_divergence
    else:
        tsne = TSNE(perplexity=perplexity, init=start, random_state=seed)
        with threadpool_limits(1):  # it takes as many threads as OpenMP gives, as torch set it
            embedded = tsne.fit_transform(points)
        kl_divergence = tsne.kl_divergence_
    judged = generator(seed, "judged").permutation(len(points))[:MOST_JUDGED]
    trust = trustworthiness(
        points[judged], embedded[judged], n_neighbors=min(NEIGHBOURS, len(judged) // 2 - 1)
    )
    return Embedding(embedded, float(kl_divergence), float(trust))
