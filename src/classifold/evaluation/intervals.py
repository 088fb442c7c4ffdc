"""95 % intervals for what is measured on few images, and a test of two answers to the same ones."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import binomtest

from classifold.data.seeding import generator

LEVEL = 0.95

# Memory holds so many numbers at once, however many images and resamples there are.
DRAWS_AT_ONCE = 4_000_000


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
    return central_interval((counts[:, 2] - counts[:, 0]) / n_images)


def macro_f1_interval(
    predicted: np.ndarray, labels: np.ndarray, *, n_classes: int, resamples: int, seed: int
) -> list[float]:
    """Bootstrap interval [low, high] of macro F1, one label an image.

    Args:
        predicted: int array (N,), values in [0, n_classes).
        labels: int array (N,).
        n_classes: all count, those without an image (F1 of 0) among them.
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    pairs, n_each = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    borne, answered = (_indicators(of_pair, n_classes) for of_pair in pairs)
    found = borne * answered
    scores = [
        f1(*(draws @ of_class for of_class in (found, answered, borne))).mean(axis=1)
        for draws in resample(n_each, resamples=resamples, seed=seed)
    ]
    return central_interval(np.concatenate(scores))


def micro_f1_interval(
    answers: np.ndarray, labels: np.ndarray, *, resamples: int, seed: int
) -> list[float]:
    """Bootstrap interval [low, high] of micro F1 over images with several labels.

    Args:
        answers: bool array (N, n_classes).
        labels: 0 and 1, in the same shape.
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    (scores,) = _resampled_micro_f1([answers], labels, resamples=resamples, seed=seed)
    return central_interval(scores)


def micro_f1_gain_interval(
    answers: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> list[float]:
    """Paired bootstrap interval [low, high] of the gain in micro F1 over a reference.

    Args:
        answers: bool array (N, n_classes) of one model.
        reference: of the other, on the same images.
        labels: 0 and 1, in the same shape.
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    ours, theirs = _resampled_micro_f1([answers, reference], labels, resamples=resamples, seed=seed)
    return central_interval(ours - theirs)


def mcnemar(n_only_first: int, n_only_second: int) -> float:
    """How often chance alone makes two models differ so much on the same images, or more.

    Only images that one of the two gets right and the other wrong tell them apart: under chance
    either is as likely to win one. The test is the exact one, for few images too.

    Returns:
        The two-sided p-value; 1 where both are right on exactly the same images.

    Source: McNemar 1947, Psychometrika 12 (2), 153-157.
    """
    n_decisive = n_only_first + n_only_second
    return float(binomtest(n_only_first, n_decisive, 0.5).pvalue) if n_decisive else 1.0


def f1(found: np.ndarray, answered: np.ndarray, borne: np.ndarray) -> np.ndarray:
    """F1 of counts, element by element; 0 where nothing is answered nor borne."""
    return 2 * found / np.maximum(answered + borne, 1)


def resample(n_each: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw as many images as there are, with replacement, many times.

    Images of one kind are interchangeable, so that a resample is one multinomial draw.

    Args:
        n_each: int array (K,): images of each kind.
        resamples: number of bootstrap samples.
        seed: of the draws.

    Yields:
        Int arrays (n, K) of how many images of each kind were drawn; `resamples` rows in all.
    """
    draw = generator(seed, "resample")
    n_images = int(n_each.sum())
    most = max(1, DRAWS_AT_ONCE // len(n_each))
    for start in range(0, resamples, most):
        size = min(most, resamples - start)
        yield draw.multinomial(n_images, n_each / n_images, size=size)


def _resampled_micro_f1(
    models: list[np.ndarray], labels: np.ndarray, *, resamples: int, seed: int
) -> list[np.ndarray]:
    """Micro F1 of each model on the same resamples: float array (resamples,) for each."""
    borne = labels > 0
    columns = [borne.sum(axis=1)]
    for answers in models:
        columns += [(answers & borne).sum(axis=1), answers.sum(axis=1)]
    kinds, n_each = np.unique(np.stack(columns), axis=1, return_counts=True)
    sums = np.concatenate(
        [draws @ kinds.T for draws in resample(n_each, resamples=resamples, seed=seed)]
    )
    return [f1(sums[:, i], sums[:, i + 1], sums[:, 0]) for i in range(1, len(columns), 2)]


def _indicators(classes: np.ndarray, n_classes: int) -> csr_array:
    """One row an element, with a 1 in the column of its class."""
    rows = np.arange(len(classes))
    shape = (len(classes), n_classes)
    return csr_array((np.ones(len(classes), np.int64), (rows, classes)), shape=shape)


def central_interval(values: np.ndarray) -> list[float]:
    """The limits between which 95 % of resampled values lie."""
    tail = (1 - LEVEL) / 2
    return [float(value) for value in np.quantile(values, [tail, 1 - tail])]
