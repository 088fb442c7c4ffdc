"""95 % intervals for what is measured on few images."""

import numpy as np
from scipy.stats import binomtest

from classifold.seeding import generator

LEVEL = 0.95


def accuracy_interval(n_hits: int, n_images: int) -> list[float]:
    """Wilson's interval [low, high] of a share of hits.

    Unlike a bootstrap's it does not shrink to a point when every image, or none, was hit.

    Source: Wilson 1927, JASA 22 (158), 209-212.
    """
    interval = binomtest(n_hits, n_images).proportion_ci(LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]


def gain_interval(
    hits: np.ndarray, reference_hits: np.ndarray, *, resamples: int, seed: int
) -> list[float]:
    """Paired bootstrap interval [low, high] of the gain in accuracy over a reference.

    Images are drawn with replacement, both answers to an image together, so that what is hard
    for both does not widen the interval.

    Args:
        hits: bool array (N,): what one model got right.
        reference_hits: bool array (N,): what the other got right, on the same images.
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    difference = hits.astype(int) - reference_hits.astype(int)
    n_images = len(difference)
    # A resample of N values out of three is one multinomial draw.
    shares = [np.mean(difference == value) for value in (-1, 0, 1)]
    counts = generator(seed, "gain").multinomial(n_images, shares, size=resamples)
    gains = (counts[:, 2] - counts[:, 0]) / n_images
    tail = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(gains, [tail, 1 - tail])]


def micro_f1_gain_interval(
    answers: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> list[float]:
    """Paired bootstrap interval [low, high] of the gain in micro F1 over a reference.

    Images are drawn with replacement. Where each image has one answer and one label, micro F1 is
    accuracy.

    Args:
        answers: bool array (N, n_classes).
        reference: the other's answers, bool array (N, n_classes).
        labels: what is the case, bool array (N, n_classes).
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    columns = [answers & labels, answers, reference & labels, reference, labels]
    counts = np.stack([column.sum(axis=1) for column in columns], axis=1)  # (N, 5)
    # Few images differ in their counts: a resample is one multinomial draw of those that do.
    kinds, n_images = np.unique(counts, axis=0, return_counts=True)
    shares = n_images / n_images.sum()
    drawn = generator(seed, "gain").multinomial(len(counts), shares, size=resamples)
    found, answered, reference_found, reference_answered, borne = (drawn @ kinds).T
    gains = 2 * found / np.maximum(answered + borne, 1)
    gains -= 2 * reference_found / np.maximum(reference_answered + borne, 1)
    tail = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(gains, [tail, 1 - tail])]
