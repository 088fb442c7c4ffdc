"""Compute 95 % confidence intervals of scores, and test whether two models differ."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import binomtest

from classifold.data.metrics import f1
from classifold.data.seeding import generator

LEVEL = 0.95

# Memory holds at most this many counts at once, whatever the numbers of images and resamples.
MAX_COUNTS_IN_MEMORY = 4_000_000


def accuracy_interval(n_correct: int, n_images: int) -> list[float]:
    """Compute Wilson's interval [low, high] of an accuracy.

    Unlike a bootstrap interval it does not shrink to a point when all predictions, or none, are
    correct.

    Source: Wilson 1927, JASA 22 (158), 209-212.
    """
    interval = binomtest(n_correct, n_images).proportion_ci(LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]


def accuracy_gain_interval(
    correct: np.ndarray, reference_correct: np.ndarray, *, resamples: int, seed: int
) -> list[float]:
    """Compute the paired bootstrap interval [low, high] of the gain in accuracy over a reference.

    Images are sampled with replacement, the predictions of both models together, so that images
    that are hard for both models do not widen the interval.

    Args:
        correct: bool array (N,): whether the predictions of one model are correct.
        reference_correct: bool array (N,): the same of the other model, for the same images.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.
    """
    difference = correct.astype(int) - reference_correct.astype(int)
    n_images = len(difference)
    # A resample of N values out of three is one sample of a multinomial distribution.
    frequencies = [np.mean(difference == value) for value in (-1, 0, 1)]
    counts = generator(seed, "gain").multinomial(n_images, frequencies, size=resamples)
    return percentile_interval((counts[:, 2] - counts[:, 0]) / n_images)


def macro_f1_interval(
    predicted: np.ndarray, labels: np.ndarray, *, n_classes: int, resamples: int, seed: int
) -> list[float]:
    """Compute the bootstrap interval [low, high] of macro F1, with one label per image.

    Args:
        predicted: int array (N,), values in [0, n_classes).
        labels: int array (N,).
        n_classes: number of classes, those without an image (of F1 0) included.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.
    """
    pairs, n_each = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    actual, positive = (_one_hot(classes, n_classes) for classes in pairs)
    true_positive = actual * positive
    scores = [
        f1(*(counts @ of_class for of_class in (true_positive, positive, actual))).mean(axis=1)
        for counts in resample(n_each, resamples=resamples, seed=seed)
    ]
    return percentile_interval(np.concatenate(scores))


def micro_f1_interval(
    predicted: np.ndarray, labels: np.ndarray, *, resamples: int, seed: int
) -> list[float]:
    """Compute the bootstrap interval [low, high] of micro F1, with several labels per image.

    Args:
        predicted: bool array (N, n_classes).
        labels: 0 and 1, in the same shape.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.
    """
    (scores,) = _resampled_micro_f1([predicted], labels, resamples=resamples, seed=seed)
    return percentile_interval(scores)


def micro_f1_gain_interval(
    predicted: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> list[float]:
    """Compute the paired bootstrap interval [low, high] of the gain in micro F1 over a reference.

    Args:
        predicted: bool array (N, n_classes) of one model.
        reference: predictions of the other model, for the same images.
        labels: 0 and 1, in the same shape.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.
    """
    models = [predicted, reference]
    scores, reference_scores = _resampled_micro_f1(models, labels, resamples=resamples, seed=seed)
    return percentile_interval(scores - reference_scores)


def mcnemar(n_only_first: int, n_only_second: int) -> float:
    """Compute the p-value of McNemar's exact test that two models are equally accurate.

    Only images count for which exactly one of the models is correct. If the models are equally
    accurate, it is either model with probability 0.5.

    Args:
        n_only_first: number of images for which only the first model is correct.
        n_only_second: number of images for which only the second model is correct.

    Returns:
        The two-sided p-value; 1 where both models are correct for exactly the same images.

    Source: McNemar 1947, Psychometrika 12 (2), 153-157.
    """
    n_discordant = n_only_first + n_only_second
    return float(binomtest(n_only_first, n_discordant, 0.5).pvalue) if n_discordant else 1.0


def resample(n_each: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Sample as many images as there are, with replacement, `resamples` times.

    Images of one kind are interchangeable, so that a resample is one sample of a multinomial
    distribution.

    Args:
        n_each: int array (K,): number of images of each kind.
        resamples: number of bootstrap samples.
        seed: seed of the random numbers.

    Yields:
        Int arrays (n, K): how often images of each kind were sampled; `resamples` rows in all.
    """
    random = generator(seed, "resample")
    n_images = int(n_each.sum())
    max_rows = max(1, MAX_COUNTS_IN_MEMORY // len(n_each))
    for start in range(0, resamples, max_rows):
        size = min(max_rows, resamples - start)
        yield random.multinomial(n_images, n_each / n_images, size=size)


def percentile_interval(values: np.ndarray) -> list[float]:
    """Return the limits between which 95 % of resampled values lie."""
    tail = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(values, [tail, 1 - tail])]


def _resampled_micro_f1(
    models: list[np.ndarray], labels: np.ndarray, *, resamples: int, seed: int
) -> list[np.ndarray]:
    """Micro F1 of each model on the same resamples: float array (resamples,) for each."""
    actual = labels > 0
    columns = [actual.sum(axis=1)]
    for predicted in models:
        columns += [(predicted & actual).sum(axis=1), predicted.sum(axis=1)]
    kinds, n_each = np.unique(np.stack(columns), axis=1, return_counts=True)
    sums = np.concatenate(
        [counts @ kinds.T for counts in resample(n_each, resamples=resamples, seed=seed)]
    )
    return [f1(sums[:, i], sums[:, i + 1], sums[:, 0]) for i in range(1, len(columns), 2)]


def _one_hot(classes: np.ndarray, n_classes: int) -> csr_array:
    rows = np.arange(len(classes))
    shape = (len(classes), n_classes)
    return csr_array((np.ones(len(classes), np.int64), (rows, classes)), shape=shape)
