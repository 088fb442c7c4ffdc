"""Compute 95 % confidence intervals of scores, and test whether two models differ.

Every interval contains its own score, and none is a point, not even if all predictions are correct
or none is, with one exception: the difference of a model to itself is [0, 0].
`benchmarks/coverage.py` measures how often the intervals contain the true score.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtri, stdtrit

from classifold.data.metrics import f1
from classifold.data.row_blocks import row_blocks
from classifold.data.seeding import generator

LEVEL = 0.95
Z = float(ndtri((1 + LEVEL) / 2))

# Memory holds at most this many counts at once, whatever the numbers of images and resamples.
MAX_COUNTS_IN_MEMORY = 4_000_000


class Gain(NamedTuple):
    """The difference of two models in `MAIN_METRIC`, on the same images."""

    difference: float
    ci95: list[float]
    p_value: float | None  # of McNemar's exact test; None with several labels per image


def accuracy_interval(n_correct: int, n_images: int, *, level: float = LEVEL) -> list[float]:
    """Compute Wilson's interval [low, high] of an accuracy, or of another proportion.

    Source: Wilson 1927, JASA 22 (158), 209-212.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - takes half a second

    interval = binomtest(n_correct, n_images).proportion_ci(level, method="wilson")
    return [float(interval.low), float(interval.high)]


def ratio_interval(parts: np.ndarray, wholes: np.ndarray) -> list[float]:
    """Compute the interval [low, high] of a ratio of sums over images, such as micro F1.

    It is the interval of Agresti and Coull, whose variance is that of a ratio of sums (Cochran
    1977, section 6.4): z^2 / 2 images that are entirely correct and as many that are entirely
    incorrect are added. For parts of 0 or 1, and wholes of 1, it is theirs of a proportion.

    Args:
        parts: array (N,): the numerator of each image, in [0, its whole].
        wholes: array (N,): the denominator of each image. An interval [0, 1] means all are 0.

    Source: Agresti and Coull 1998, The American Statistician 52 (2), 119-126.
    """
    if not wholes.sum():
        return [0.0, 1.0]
    added = Z**2 / 2
    parts, wholes = parts / wholes.mean(), wholes / wholes.mean()
    n_images = len(parts) + 2 * added
    ratio = (parts.sum() + added) / n_images
    squares = ((parts - ratio * wholes) ** 2).sum() + added * ((1 - ratio) ** 2 + ratio**2)
    half = Z * np.sqrt(squares) / n_images
    return [float(max(ratio - half, 0)), float(min(ratio + half, 1))]


def ratio_gain_interval(
    parts: np.ndarray,
    wholes: np.ndarray,
    reference_parts: np.ndarray,
    reference_wholes: np.ndarray,
) -> list[float]:
    """Compute the interval [low, high] of the difference of two ratios on the same images.

    Images that are hard for both models do not widen it. Two images are added, each entirely
    correct for one of the models and entirely incorrect for the other. For the accuracies of two
    models this is the interval of Bonett and Price.

    Args:
        parts: array (N,): the numerators of one model.
        wholes: array (N,): its denominators.
        reference_parts: the same of the other model, for the same images.
        reference_wholes: likewise.

    Source: Bonett and Price 2012, British Journal of Mathematical and Statistical Psychology 65
    (3), 479-488; Laplace's adjustment.
    """
    if not (wholes.sum() and reference_wholes.sum()):
        return [-1.0, 1.0]
    difference, error = _ratio_gain(parts, wholes, reference_parts, reference_wholes)
    return [float(max(difference - Z * error, -1)), float(min(difference + Z * error, 1))]


def _ratio_gain(
    parts: np.ndarray,
    wholes: np.ndarray,
    reference_parts: np.ndarray,
    reference_wholes: np.ndarray,
) -> tuple[float, float]:
    """The center of `ratio_gain_interval` and its standard error, that of the images."""
    ratio, residuals = _with_two_images(parts, wholes, added=(1, 0))
    reference, of_reference = _with_two_images(reference_parts, reference_wholes, added=(0, 1))
    error = np.sqrt(((residuals - of_reference) ** 2).sum()) / len(residuals)
    return ratio - reference, float(error)


def ratio_quotient_interval(
    parts: np.ndarray,
    wholes: np.ndarray,
    reference_parts: np.ndarray,
    reference_wholes: np.ndarray,
) -> list[float]:
    """Compute the interval [low, high] of one ratio divided by another, on the same images.

    The variance is that of a quotient by the delta method, with the same two added images as in
    `ratio_gain_interval`.

    Args:
        parts: see `ratio_gain_interval`, as for the other arguments.
        wholes: see there.
        reference_parts: see there.
        reference_wholes: see there.

    Source: Cochran 1977, section 6.4.
    """
    if not (wholes.sum() and reference_wholes.sum()):
        return [0.0, 1.0]
    ratio, residuals = _with_two_images(parts, wholes, added=(1, 0))
    reference, of_reference = _with_two_images(reference_parts, reference_wholes, added=(0, 1))
    quotient = ratio / reference
    residuals = (residuals - quotient * of_reference) / reference
    half = Z * np.sqrt((residuals**2).sum()) / len(residuals)
    return [float(max(quotient - half, 0)), float(quotient + half)]


def score_terms(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split `MAIN_METRIC` into a numerator and a denominator per image, two arrays (N,).

    The ratio of their sums is the accuracy, or micro F1 with several labels.

    Args:
        predicted: array (N,) of classes or their names, or bool (N, n_classes).
        labels: the same for the truth; 0 and 1 in (N, n_classes).
    """
    if labels.ndim == 1:
        return (predicted == labels).astype(float), np.ones(len(labels))
    actual = labels > 0
    return 2 * (predicted & actual).sum(axis=1), predicted.sum(axis=1) + actual.sum(axis=1)


def gain_interval(predicted: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> list[float]:
    """Compute the paired interval [low, high] of the gain in `MAIN_METRIC` over a reference.

    Args:
        predicted: array (N,) of classes or their names, or bool (N, n_classes), of one model.
        reference: predictions of the other model, for the same images.
        labels: the same for the truth; 0 and 1 in (N, n_classes).
    """
    return ratio_gain_interval(*score_terms(predicted, labels), *score_terms(reference, labels))


def paired_gain(predicted: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> Gain:
    """Compute the gain of a model over a reference; the arguments are those of `gain_interval`."""
    difference = _score(predicted, labels) - _score(reference, labels)
    ci95 = gain_interval(predicted, reference, labels)
    if labels.ndim > 1:
        return Gain(difference, ci95, None)
    correct, other = predicted == labels, reference == labels
    p_value = mcnemar(int((correct & ~other).sum()), int((other & ~correct).sum()))
    return Gain(difference, ci95, p_value)


def _score(predicted: np.ndarray, labels: np.ndarray) -> float:
    parts, wholes = score_terms(predicted, labels)
    return float(parts.sum() / max(wholes.sum(), 1))


def model_gain_interval(
    predicted: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    *,
    outputs: np.ndarray,
    reference_outputs: np.ndarray,
) -> list[float]:
    """Compute the paired interval [low, high] of the gain in `MAIN_METRIC` over a reference.

    Two models with the same predictions may differ on other images, so their interval is not a
    point. Two models with the same output for every image and class are one model, such as a stack
    and its only member: [0, 0].

    Args:
        predicted: int array (N,), or bool (N, n_classes), of one model.
        reference: predictions of the other model, for the same images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        outputs: float array (N, n_classes): logits or probabilities of the one model.
        reference_outputs: the same of the other model.
    """
    if np.array_equal(predicted, reference) and all(
        np.array_equal(outputs[rows], reference_outputs[rows])
        for rows in row_blocks(*outputs.shape)
    ):
        return [0.0, 0.0]
    return gain_interval(predicted, reference, labels)


def seeds_gain_interval(
    predicted: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    labels: np.ndarray,
    *,
    scores: Sequence[float],
    reference_scores: Sequence[float],
) -> list[float]:
    """Compute the interval [low, high] of the difference of two mean scores over seeds.

    It is for other seeds and for other images: to the variances of Welch's t-test, those of the
    two means over seeds, the variance over images is added, that of the paired difference of
    the images' means over seeds. Seeds vary partly because they differ in single images. Both
    parts have this variation, so that the interval is rather too wide than too narrow.

    Args:
        predicted: predictions of a model from each of its seeds, at least two: int arrays (N,), or
            bool (N, n_classes).
        reference: the same of the other model; its number of seeds may be another.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        scores: `MAIN_METRIC` of `predicted`.
        reference_scores: `MAIN_METRIC` of `reference`.

    Source: Welch 1947, Biometrika 34, 28-35; for the variances of seeds and images in benchmarks
    Bouthillier et al. 2021, arXiv:2103.03098.
    """
    terms = [
        np.mean([score_terms(each, labels) for each in seeds], axis=0)
        for seeds in (predicted, reference)
    ]
    if not all(wholes.sum() for _, wholes in terms):
        return [-1.0, 1.0]
    _, of_images = _ratio_gain(*terms[0], *terms[1])
    of_seeds = [np.var(each, ddof=1) / len(each) for each in (scores, reference_scores)]
    freedom = [len(each) - 1 for each in (scores, reference_scores)]
    variance = of_images**2 + sum(of_seeds)
    # Welch's degrees of freedom; those of the variance over images are many.
    uncertainty = sum(each**2 / n for each, n in zip(of_seeds, freedom, strict=True))
    quantile = stdtrit(variance**2 / uncertainty, (1 + LEVEL) / 2) if uncertainty else Z
    difference, half = np.mean(scores) - np.mean(reference_scores), quantile * np.sqrt(variance)
    return [float(max(difference - half, -1)), float(min(difference + half, 1))]


def independent_gain_interval(
    score: float, interval: list[float], reference: float, reference_interval: list[float]
) -> list[float]:
    """Compute the interval [low, high] of the difference of two scores on different images.

    Source: Newcombe 1998, Statistics in Medicine 17 (8), 873-890, method 10.
    """
    difference = score - reference
    below = np.hypot(score - interval[0], reference_interval[1] - reference)
    above = np.hypot(interval[1] - score, reference - reference_interval[0])
    return [float(difference - below), float(difference + above)]


def macro_f1_interval(
    predicted: np.ndarray, labels: np.ndarray, *, n_classes: int, resamples: int, seed: int
) -> list[float]:
    """Compute the interval [low, high] of the mean F1 over the classes that have images.

    It is Wilson's interval with an effective number of images. The number is that of a proportion
    with the variance that the score has over test sets with as many images of each class. Test sets
    are sampled from the predictions of each class, to which z^2 images are added that are predicted
    like the average class: resamples of few images of a class alone would vary too little.

    With few images per class the mean F1 is biased (with one image per class and an accuracy of
    90 % it is below 0.9). The interval reaches from the lower limit to the upper limit of the
    intervals around the score and around the score without this bias.

    Args:
        predicted: int array (N,), values in [0, n_classes).
        labels: int array (N,).
        n_classes: number of classes.
        resamples: number of sampled test sets.
        seed: seed of the random numbers.

    Source: Wilson 1927; Korn and Graubard 1998, Survey Methodology 24 (2), 193-201 (effective
    number).
    """
    counts = _ClassCounts(predicted, labels, n_classes=n_classes)
    sampled = np.concatenate(list(counts.sample(resamples=resamples, seed=seed)))
    expected, score = counts.expected_macro_f1(), counts.macro_f1()
    unbiased = float(np.clip(score - (sampled.mean() - expected), 0, 1))
    n_effective = expected * (1 - expected) / max(float(sampled.var(ddof=1)), 1e-12)
    limits = [_wilson(center, n_effective) for center in (score, unbiased)]
    return [min(low for low, _ in limits), max(high for _, high in limits)]


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
    if not n_discordant:
        return 1.0
    from scipy.stats import binomtest  # noqa: PLC0415 - takes half a second

    return float(binomtest(n_only_first, n_discordant, 0.5).pvalue)


class _ClassCounts:
    """How often images of each class are predicted as each class, and how often they might be.

    `kinds` are the pairs of actual and predicted class that occur, without correct predictions.
    """

    def __init__(self, predicted: np.ndarray, labels: np.ndarray, *, n_classes: int) -> None:
        wrong = predicted != labels
        self.n_images = np.bincount(labels, minlength=n_classes)
        self.n_correct = np.bincount(labels[~wrong], minlength=n_classes)
        (self.present,) = np.nonzero(self.n_images)
        pairs = np.stack([labels[wrong], predicted[wrong]])
        kinds, self.n_each = np.unique(pairs, axis=1, return_counts=True)
        self.n_wrong = np.bincount(predicted[wrong], minlength=n_classes)

        # The added images: as accurate as all images, with z^2 more, half of them correct. A wrong
        # prediction is of any class, in proportion to the wrong predictions of all images.
        accuracy = (self.n_correct.sum() + Z**2 / 2) / (len(labels) + Z**2)
        self.wrong_classes = (self.n_wrong + 1 / n_classes) / (self.n_wrong.sum() + 1)
        # Per class: correct, added and wrong, then its kinds.
        first = np.searchsorted(kinds[0], kinds[0])
        self.places = 2 + np.arange(len(first)) - first
        weights = np.zeros((n_classes, 2 + int(self.places.max(initial=1)) - 1))
        weights[:, 0] = self.n_correct + Z**2 * accuracy
        weights[:, 1] = Z**2 * (1 - accuracy)
        weights[kinds[0], self.places] = self.n_each
        self.probabilities = weights / weights.sum(axis=1, keepdims=True)
        self.kinds = kinds
        self.to_class = csr_array(
            (np.ones(len(first)), (np.arange(len(first)), kinds[1])), shape=(len(first), n_classes)
        )

    def macro_f1(self) -> float:
        """The mean F1 over classes with images."""
        return float(self._mean_f1(self.n_correct, self.n_wrong))

    def expected_macro_f1(self) -> float:
        """The mean F1 over infinitely many images of each class, in the same proportions."""
        expected = self.n_images[:, None] * self.probabilities
        wrong = expected[:, 1].sum() * self.wrong_classes
        wrong = wrong + expected[self.kinds[0], self.places] @ self.to_class
        return float(self._mean_f1(expected[:, 0], wrong))

    def sample(self, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
        """Yield the mean F1 of test sets with as many images of each class: float arrays (n,)."""
        random = generator(seed, "macro F1")
        n_images, probabilities = self.n_images[self.present], self.probabilities[self.present]
        row_of = np.searchsorted(self.present, self.kinds[0])
        max_rows = max(1, MAX_COUNTS_IN_MEMORY // probabilities.size)
        for start in range(0, resamples, max_rows):
            n_sets = min(max_rows, resamples - start)
            sampled = random.multinomial(
                n_images, probabilities, size=(n_sets, len(n_images))
            )  # (n_sets, classes with images, kinds)
            correct = np.zeros((n_sets, len(self.n_images)))
            correct[:, self.present] = sampled[:, :, 0]
            wrong = random.multinomial(sampled[:, :, 1].sum(axis=1), self.wrong_classes)
            wrong = wrong + sampled[:, row_of, self.places] @ self.to_class
            yield self._mean_f1(correct, wrong)

    def _mean_f1(self, correct: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        """Mean F1 from the correct and wrong predictions of each class, (n, n_classes) -> (n,)."""
        each = f1(correct, correct + wrong, self.n_images)
        return each[..., self.present].mean(axis=-1)


def _wilson(score: float, n_images: float) -> tuple[float, float]:
    """Wilson's interval of a score with a number of images that need not be an integer."""
    center = (score + Z**2 / (2 * n_images)) / (1 + Z**2 / n_images)
    half = np.sqrt(score * (1 - score) / n_images + (Z / (2 * n_images)) ** 2)
    half *= Z / (1 + Z**2 / n_images)
    # The limits of 0 and 1 are exact, but for rounding.
    low = 0.0 if score == 0 else max(float(center - half), 0.0)
    return low, 1.0 if score == 1 else min(float(center + half), 1.0)


def _with_two_images(
    parts: np.ndarray, wholes: np.ndarray, *, added: tuple[int, int]
) -> tuple[float, np.ndarray]:
    """Add two images that are entirely correct (1) or incorrect (0).

    Returns:
        The ratio of sums, and the residuals of the N + 2 images.
    """
    scaled = np.concatenate([parts / wholes.mean(), added])
    ratio = scaled.sum() / len(scaled)
    return ratio, scaled - ratio * np.concatenate([wholes / wholes.mean(), [1, 1]])
