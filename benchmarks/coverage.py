"""Measure how often the 95 % intervals of the evaluation contain the true score, by simulation.

    python benchmarks/coverage.py

A classifier with a known confusion matrix predicts many test sets. The true score is that of
infinitely many test images. Rows are means over the simulations of `settings`.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from classifold.evaluation.intervals import (
    accuracy_interval,
    gain_interval,
    independent_gain_interval,
    macro_f1_interval,
    ratio_interval,
    ratio_quotient_interval,
    score_terms,
    seeds_gain_interval,
)
from classifold.evaluation.outcomes import count_outcomes

RESAMPLES = 300  # of macro F1; more change the third digit


class Interval(NamedTuple):
    """A score, its interval, and the true score."""

    score: float
    ends: list[float]
    truth: float

    def contains(self, value: float) -> bool:
        """Whether a value is in the interval, but for rounding."""
        return bool(self.ends[0] - 1e-9 <= value <= self.ends[1] + 1e-9)


def accuracy(random: np.random.Generator, *, n: int, p: float) -> Interval:
    """Wilson's interval, of all images or of a slice or of a bin of the reliability diagram."""
    n_correct = int(random.binomial(n, p))
    return Interval(n_correct / n, accuracy_interval(n_correct, n), p)


def accuracy_gain(random: np.random.Generator, *, n: int, only: tuple[float, float]) -> Interval:
    """The paired difference of two models; each alone is correct with a probability of `only`."""
    kind = random.choice(3, n, p=[*only, 1 - sum(only)])
    ends = gain_interval(kind != 1, kind != 0, np.ones(n, bool))
    return Interval(float((kind == 0).mean() - (kind == 1).mean()), ends, only[0] - only[1])


def independent_gain(random: np.random.Generator, *, n: int, p: tuple[float, float]) -> Interval:
    """The difference of two accuracies on different images (studies/leakage)."""
    counts = [int(random.binomial(n, each)) for each in p]
    ends = independent_gain_interval(
        counts[0] / n,
        accuracy_interval(counts[0], n),
        counts[1] / n,
        accuracy_interval(counts[1], n),
    )
    return Interval((counts[0] - counts[1]) / n, ends, p[0] - p[1])


def seeds_gain(
    random: np.random.Generator, *, n: int, n_seeds: int, sd_of_seeds: float
) -> Interval:
    """The difference of two models' mean accuracies over seeds, on the same images.

    An image is classified correctly if the sum of what the model, the image (standard deviation 1),
    the seed, and the pair of image and seed (0.5) contribute is positive.
    """
    strengths, of_images = (1.3, 1.2), random.normal(0, 1, n)
    predicted, labels = [], np.zeros(n, int)
    for strength in strengths:
        of_seeds = random.normal(strength, sd_of_seeds, (n_seeds, 1))
        sums = of_images + of_seeds + random.normal(0, 0.5, (n_seeds, n))
        predicted.append(list((sums <= 0).astype(int)))
    scores = [[float((one == 0).mean()) for one in of_model] for of_model in predicted]
    ends = seeds_gain_interval(*predicted, labels, scores=scores[0], reference_scores=scores[1])
    chances = norm.cdf(strengths, scale=np.sqrt(1 + 0.5**2 + sd_of_seeds**2))
    return Interval(float(np.mean(scores[0]) - np.mean(scores[1])), ends, chances[0] - chances[1])


def accuracy_of_variants(random: np.random.Generator, *, n: int, p: float) -> Interval:
    """The accuracy over 8 variants of each image, which are easy or hard together."""
    of_source = random.beta(p * 0.5, (1 - p) * 0.5, n)
    correct = random.binomial(8, of_source)
    return Interval(correct.sum() / (8 * n), ratio_interval(correct, np.full(n, 8)), p)


def relative_accuracy(
    random: np.random.Generator, *, n: int, p: float, corrupted: float
) -> Interval:
    """The accuracy under 45 corruptions by the accuracy without; some images are harder."""
    ease = random.beta(3 * p, 3 * (1 - p), n)
    clean = (random.random(n) < ease).astype(float)
    of_corrupted = random.binomial(45, corrupted * ease) / 45
    ones = np.ones(n)
    ends = ratio_quotient_interval(of_corrupted, ones, clean, ones)
    score = of_corrupted.sum() / clean.sum() if clean.any() else float(np.mean(ends))
    return Interval(float(score), ends, corrupted)


def macro_f1(
    random: np.random.Generator, *, n_classes: int, per_class: int, p: float, equal: bool
) -> Interval:
    """Macro F1; classes are equally difficult and large, or neither."""
    n_images = np.full(n_classes, per_class)
    recall = np.full(n_classes, p)
    # A wrong prediction is of the next class, or of any other one.
    steps = np.arange(1, 2) if not equal else np.arange(1, n_classes)
    if not equal:
        recall = np.random.default_rng(n_classes).beta(2 * p, 2 * (1 - p), n_classes)
        sizes = 4 * per_class / (1 + np.arange(n_classes)) ** 0.7
        n_images = np.maximum(1, sizes.astype(int))
    labels = np.repeat(np.arange(n_classes), n_images)
    wrong = (labels + random.choice(steps, len(labels))) % n_classes
    predicted = np.where(random.random(len(labels)) < recall[labels], labels, wrong)
    missed = n_images * (1 - recall)
    received = np.roll(missed, 1) if not equal else (missed.sum() - missed) / (n_classes - 1)
    truth = (2 * n_images * recall / (n_images + n_images * recall + received)).mean()
    score = count_outcomes(predicted, labels, n_classes=n_classes).f1.mean()
    seed = int(random.integers(2**31))
    ends = macro_f1_interval(predicted, labels, n_classes=n_classes, resamples=RESAMPLES, seed=seed)
    return Interval(float(score), ends, float(truth))


def _predict_several(
    random: np.random.Generator, *, n: int, recall: float, fallout: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of 10 classes and predictions; some images are harder than others."""
    labels = random.random((n, 10)) < np.linspace(0.05, 0.4, 10)
    of_image = random.beta(4 * recall, 4 * (1 - recall), (n, 1))
    positive = np.where(labels, of_image, fallout)
    return labels, random.random((n, 10)) < positive


def micro_f1(random: np.random.Generator, *, n: int, recall: float, fallout: float) -> Interval:
    """Micro F1 of ten classes."""
    labels, predicted = _predict_several(random, n=n, recall=recall, fallout=fallout)
    outcomes = count_outcomes(predicted, labels)
    total = [counts.sum() for counts in outcomes[:3]]
    score = 2 * total[0] / max(total[1] + total[2], 1)
    ends = ratio_interval(*score_terms(predicted, labels))
    return Interval(float(score), ends, _true_micro_f1(recall, fallout))


def micro_f1_gain(
    random: np.random.Generator, *, n: int, recall: float, fallout: float
) -> Interval:
    """The difference of micro F1 between two models, of which one misses a third less."""
    labels, predicted = _predict_several(random, n=n, recall=recall, fallout=fallout)
    better = predicted | (labels & (random.random(labels.shape) < 1 / 3))
    scores = []
    for each in (better, predicted):
        total = [counts.sum() for counts in count_outcomes(each, labels)[:3]]
        scores.append(2 * total[0] / max(total[1] + total[2], 1))
    truth = _true_micro_f1(recall + (1 - recall) / 3, fallout) - _true_micro_f1(recall, fallout)
    ends = gain_interval(better, predicted, labels)
    return Interval(scores[0] - scores[1], ends, truth)


def _true_micro_f1(recall: float, fallout: float) -> float:
    actual = np.linspace(0.05, 0.4, 10).sum()
    return float(2 * recall * actual / (actual + recall * actual + fallout * (10 - actual)))


def settings() -> Iterator[tuple[str, list[Callable[[np.random.Generator], Interval]]]]:
    """Yield the rows of the table: a title and its simulations."""
    for n in (5, 20, 100, 1000):
        yield (
            f"accuracy of {n} images, 0.5 to 0.99",
            [partial(accuracy, n=n, p=p) for p in (0.5, 0.7, 0.9, 0.95, 0.99)],
        )
    for n in (20, 100, 1000):
        pairs = ((0.02, 0.02), (0.1, 0.1), (0.1, 0.02), (0.3, 0.1))
        yield (
            f"paired difference of accuracy, {n} images",
            [partial(accuracy_gain, n=n, only=only) for only in pairs],
        )
    for n_seeds, n in ((3, 100), (3, 1000), (5, 100), (5, 1000)):
        yield (
            f"difference of mean accuracy over {n_seeds} seeds, {n} images",
            [partial(seeds_gain, n=n, n_seeds=n_seeds, sd_of_seeds=sd) for sd in (0, 0.05, 0.2)],
        )
    pairs = ((0.9, 0.8), (0.99, 0.95), (0.5, 0.5))
    yield (
        "difference of accuracy on other images, 100 each",
        [partial(independent_gain, n=100, p=p) for p in pairs],
    )
    yield (
        "accuracy over variants, 50 images",
        [partial(accuracy_of_variants, n=50, p=p) for p in (0.5, 0.8, 0.95)],
    )
    for n in (20, 100, 500):
        pairs = ((0.5, 0.9), (0.9, 0.5), (0.9, 0.9), (0.99, 0.99))
        yield (
            f"relative accuracy, {n} images",
            [partial(relative_accuracy, n=n, p=p, corrupted=q) for p, q in pairs],
        )
    for n_classes, per_class in (
        *((2, 5), (2, 20), (2, 200), (10, 1), (10, 3), (10, 10), (10, 100)),
        *((100, 1), (100, 3), (100, 10), (2000, 1)),
    ):
        yield (
            f"macro F1, {n_classes:,} classes, {per_class} image{'s' * (per_class > 1)} each",
            [
                partial(macro_f1, n_classes=n_classes, per_class=per_class, p=p, equal=equal)
                for p in (0.1, 0.5, 0.9, 0.99)
                for equal in (True, False)
            ],
        )
    rates = ((0.1, 0.02), (0.5, 0.05), (0.9, 0.01), (0.99, 0.001))
    for name, simulate in (("micro F1", micro_f1), ("difference of micro F1", micro_f1_gain)):
        for n in (10, 50, 500):
            yield (
                f"{name}, {n} images",
                [
                    partial(simulate, n=n, recall=recall, fallout=fallout)
                    for recall, fallout in rates
                ],
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=400, help="test sets per setting")
    parser.add_argument("--only", default="", help="rows whose title contains this")
    arguments = parser.parse_args()
    n_repetitions = arguments.repetitions
    print("| interval | coverage, mean | lowest | mean width | contains its score |")
    print("|---|--:|--:|--:|--:|")
    for title, simulations in settings():
        if arguments.only not in title:
            continue
        coverage, widths, own = [], [], []
        for number, simulate in enumerate(simulations):
            random = np.random.default_rng([number, n_repetitions])
            found = [simulate(random) for _ in range(n_repetitions)]
            coverage.append(np.mean([one.contains(one.truth) for one in found]))
            widths.append(np.mean([one.ends[1] - one.ends[0] for one in found]))
            own.append(np.mean([one.contains(one.score) for one in found]))
        print(
            f"| {title} | {np.mean(coverage):.3f} | {min(coverage):.3f} | {np.mean(widths):.3f} "
            f"| {100 * np.mean(own):.0f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
