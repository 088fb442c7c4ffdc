"""Confidence intervals of scores: by hand, and in agreement with SciPy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, norm
from sklearn.metrics import f1_score

from classifold.evaluation import intervals
from classifold.evaluation.intervals import (
    accuracy_gain_interval,
    accuracy_interval,
    macro_f1_interval,
    mcnemar,
    micro_f1_gain_interval,
    micro_f1_interval,
    resample,
)


def test_wilsons_interval_by_its_formula():
    n_correct, n_images = 70, 100
    z, accuracy = norm.ppf(0.975), n_correct / n_images
    center = (accuracy + z**2 / (2 * n_images)) / (1 + z**2 / n_images)
    half = z * np.sqrt(accuracy * (1 - accuracy) / n_images + z**2 / (4 * n_images**2))
    half /= 1 + z**2 / n_images
    assert accuracy_interval(n_correct, n_images) == pytest.approx([center - half, center + half])


def test_the_interval_of_an_accuracy_of_1_is_no_point():
    low, high = accuracy_interval(10, 10)
    assert (low, high) == (pytest.approx(10 / (10 + norm.ppf(0.975) ** 2)), pytest.approx(1))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_contains_its_estimate_and_mirrors_for_mistakes(counts):
    n_correct, n_images = counts
    low, high = accuracy_interval(n_correct, n_images)
    assert 0 <= low <= n_correct / n_images + 1e-12
    assert n_correct / n_images - 1e-12 <= high <= 1
    assert accuracy_interval(n_images - n_correct, n_images) == pytest.approx([1 - high, 1 - low])


CORRECT = np.random.default_rng(0).random(300) < 0.8
OTHERS = np.random.default_rng(1).random(300) < 0.7


def test_the_gain_interval_agrees_with_scipys_paired_bootstrap():
    expected = bootstrap(
        (CORRECT.astype(float), OTHERS.astype(float)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    interval = accuracy_gain_interval(CORRECT, OTHERS, resamples=5000, seed=0)
    assert interval == pytest.approx([expected.low, expected.high], abs=0.008)


def test_a_model_gains_nothing_over_itself():
    assert accuracy_gain_interval(CORRECT, CORRECT, resamples=1000, seed=0) == [0, 0]


def test_the_gain_of_one_model_is_the_loss_of_the_other():
    low, high = accuracy_gain_interval(CORRECT, OTHERS, resamples=20_000, seed=0)
    assert accuracy_gain_interval(OTHERS, CORRECT, resamples=20_000, seed=0) == pytest.approx(
        [-high, -low], abs=0.008
    )


def test_images_that_are_hard_for_both_models_do_not_widen_the_interval():
    easy = np.ones(300, bool)
    easy[:6] = False
    hard = CORRECT & easy
    low, high = accuracy_gain_interval(CORRECT, hard, resamples=5000, seed=0)
    n_lost = (CORRECT & ~easy).sum()
    assert 0 <= low <= n_lost / 300 <= high
    assert high - low < 0.03  # two independent intervals of 300 images are wider than 0.1


def test_the_same_seed_gives_the_same_interval():
    intervals = [
        accuracy_gain_interval(CORRECT, OTHERS, resamples=200, seed=seed) for seed in (1, 1, 2)
    ]
    assert intervals[0] == intervals[1] != intervals[2]


RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 4, 150)
PREDICTED = np.where(RANDOM.random(150) < 0.6, LABELS, RANDOM.integers(0, 4, 150))
MULTI_LABELS = (RANDOM.random((150, 4)) < 0.3).astype(np.uint8)
FIRST, SECOND = (
    np.where(RANDOM.random(MULTI_LABELS.shape) < p, MULTI_LABELS, 1) > 0 for p in (0.8, 0.7)
)


def as_resampled_images(columns, *, resamples, seed):
    """The images of each resample, one by one, as rows of `columns` (N, k)."""
    kinds, n_each = np.unique(columns, axis=0, return_counts=True)
    for draws in resample(n_each, resamples=resamples, seed=seed):
        for draw in draws:
            yield np.repeat(kinds, draw, axis=0)


def middle(scores):
    return np.quantile(list(scores), [0.025, 0.975]).tolist()


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 1000))
def test_macro_f1_of_every_resample_is_scikit_learns(n_images, n_classes, seed):
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(0, n_classes, (2, n_images))
    expected = middle(
        f1_score(*images.T, labels=range(n_classes), average="macro", zero_division=0)
        for images in as_resampled_images(np.stack([labels, predicted], 1), resamples=8, seed=seed)
    )
    found = macro_f1_interval(predicted, labels, n_classes=n_classes, resamples=8, seed=seed)
    assert found == pytest.approx(expected)


@pytest.mark.slow
def test_macro_f1_and_micro_f1_agree_with_scipys_bootstrap_of_scikit_learn():
    def macro(indices):
        return f1_score(LABELS[indices], PREDICTED[indices], average="macro")

    def micro(indices):
        return f1_score(MULTI_LABELS[indices], FIRST[indices], average="micro")

    def gain(indices):
        return micro(indices) - f1_score(MULTI_LABELS[indices], SECOND[indices], average="micro")

    settings = {"resamples": 3000, "seed": 0}
    for statistic, found in [
        (macro, macro_f1_interval(PREDICTED, LABELS, n_classes=4, **settings)),
        (micro, micro_f1_interval(FIRST, MULTI_LABELS, **settings)),
        (gain, micro_f1_gain_interval(FIRST, SECOND, MULTI_LABELS, **settings)),
    ]:
        expected = bootstrap(
            (np.arange(150),),
            statistic,
            vectorized=False,
            method="percentile",
            n_resamples=600,
            rng=np.random.default_rng(1),
        ).confidence_interval
        assert found == pytest.approx([expected.low, expected.high], abs=0.02)


def test_a_resample_has_as_many_images_and_does_not_depend_on_the_memory_limit(monkeypatch):
    n_each = np.array([3, 0, 5, 1])
    whole = np.concatenate(list(resample(n_each, resamples=50, seed=1)))
    assert whole.shape == (50, 4)
    assert (whole.sum(axis=1) == 9).all()
    assert (whole[:, 1] == 0).all()
    monkeypatch.setattr(intervals, "MAX_COUNTS_IN_MEMORY", 30)
    parts = list(resample(n_each, resamples=50, seed=1))
    assert len(parts) == 8
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_interval_of_one_image_is_a_point():
    one = {"resamples": 20, "seed": 0}
    assert macro_f1_interval(np.array([1]), np.array([1]), n_classes=2, **one) == [0.5, 0.5]
    assert micro_f1_interval(np.array([[True, True]]), np.array([[1, 0]]), **one) == [2 / 3, 2 / 3]
    nothing = np.zeros((1, 2), bool)
    assert micro_f1_interval(nothing, nothing.astype(np.uint8), **one) == [0, 0]


def test_the_gain_in_micro_f1_is_0_over_itself_and_the_loss_of_the_other_model():
    settings = {"resamples": 500, "seed": 0}
    assert micro_f1_gain_interval(FIRST, FIRST, MULTI_LABELS, **settings) == [0, 0]
    settings["resamples"] = 5000
    low, high = micro_f1_gain_interval(FIRST, SECOND, MULTI_LABELS, **settings)
    assert micro_f1_gain_interval(SECOND, FIRST, MULTI_LABELS, **settings) == pytest.approx(
        [-high, -low], abs=0.01
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(0, 0, 1, id="right on the same images"),
        pytest.param(5, 0, 2 / 32, id="five coins"),
        pytest.param(1, 3, 2 * (1 + 4) / 16, id="four coins"),
        pytest.param(2, 2, 1, id="even"),
    ],
)
def test_mcnemars_p_value_by_hand(first, second, expected):
    assert mcnemar(first, second) == pytest.approx(expected)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_test_is_symmetric(first, second):
    assert mcnemar(first, second) == pytest.approx(mcnemar(second, first))
    assert 0 < mcnemar(first, second) <= 1
    if first + second:
        expected = binomtest(min(first, second), first + second).pvalue
        assert mcnemar(first, second) == pytest.approx(expected)


def test_with_one_label_per_image_the_gain_in_micro_f1_is_the_gain_in_accuracy():
    labels = np.random.default_rng(0).integers(0, 4, len(CORRECT))
    actual = np.eye(4, dtype=bool)[labels]
    predicted, others = (
        np.eye(4, dtype=bool)[np.where(correct, labels, (labels + 1) % 4)]
        for correct in (CORRECT, OTHERS)
    )
    interval = micro_f1_gain_interval(predicted, others, actual, resamples=20_000, seed=0)
    expected = accuracy_gain_interval(CORRECT, OTHERS, resamples=20_000, seed=1)
    assert interval == pytest.approx(expected, abs=0.008)
