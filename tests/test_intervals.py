"""Confidence intervals of scores: by hand, against references, and how often they are right."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import f1_score

from classifold.evaluation import intervals
from classifold.evaluation.intervals import (
    accuracy_interval,
    gain_interval,
    independent_gain_interval,
    macro_f1_interval,
    mcnemar,
    model_gain_interval,
    ratio_interval,
    ratio_quotient_interval,
    score_terms,
)

Z = norm.ppf(0.975)
FEW = {"resamples": 100, "seed": 0}
ROUNDING = 1e-9


def load_benchmark():
    path = Path(__file__).parents[1] / "benchmarks/coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COVERAGE = load_benchmark()


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_an_accuracy_is_wilsons_of_scipy(counts):
    expected = binomtest(*counts).proportion_ci(method="wilson")
    assert accuracy_interval(*counts) == pytest.approx([expected.low, expected.high])


def test_the_interval_of_a_ratio_of_right_and_wrong_images_is_that_of_agresti_and_coull():
    n, n_right = 40, 31
    center = (n_right + Z**2 / 2) / (n + Z**2)
    half = Z * np.sqrt(center * (1 - center) / (n + Z**2))
    found = ratio_interval(np.arange(n) < n_right, np.ones(n))
    assert found == pytest.approx([center - half, center + half])


def test_the_interval_of_a_difference_of_accuracies_is_that_of_bonett_and_price():
    n, only_first, only_second = 30, 7, 2
    first, second = np.arange(n) >= only_second, np.ones(n, bool)
    second[-only_first:] = False
    p, q = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = Z * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    found = gain_interval(first, second, np.ones(n, bool))
    assert found == pytest.approx([p - q - half, p - q + half])
    assert gain_interval(second, first, np.ones(n, bool)) == pytest.approx([-found[1], -found[0]])


def test_the_interval_of_a_difference_on_other_images_is_newcombes():
    # Newcombe 1998, table II: 56/70 - 48/80 is 0.2, and method 10 gives 0.0524 to 0.3339.
    scores = (56 / 70, accuracy_interval(56, 70), 48 / 80, accuracy_interval(48, 80))
    assert independent_gain_interval(*scores) == pytest.approx([0.0524, 0.3339], abs=5e-5)


def test_the_interval_of_a_quotient_of_accuracies_is_that_of_the_delta_method():
    n = 30
    first, second = (np.arange(n) < k for k in (18, 24))  # the first is right where the second is
    ones = np.ones(n)
    p, q = 19 / 32, 25 / 32  # one image is added for each
    # Of 32 images 18 are right for both, 7 for the second only, 1 for the first only.
    r = p / q
    variance = (18 * (1 - r) ** 2 + 7 * r**2 + 1) / 32 / 32 / q**2
    found = ratio_quotient_interval(first, ones, second, ones)
    assert found == pytest.approx([r - Z * np.sqrt(variance), r + Z * np.sqrt(variance)])
    assert ratio_quotient_interval(first, ones, second, 0 * ones) == [0, 1]


CORRECT = np.random.default_rng(0).random(300) < 0.8


def test_images_that_are_hard_for_both_models_do_not_widen_the_interval():
    easy = np.ones(300, bool)
    easy[:6] = False
    low, high = gain_interval(CORRECT, CORRECT & easy, np.ones(300, bool))
    assert low <= (CORRECT & ~easy).sum() / 300 <= high
    assert high - low < 0.05  # two independent intervals of 300 images are wider than 0.1


RANDOM = np.random.default_rng(5)
MULTI_LABELS = (RANDOM.random((150, 4)) < 0.3).astype(np.uint8)
FIRST, SECOND = (
    np.where(RANDOM.random(MULTI_LABELS.shape) < p, MULTI_LABELS, 1) > 0 for p in (0.8, 0.7)
)


def test_intervals_of_micro_f1_agree_with_resampling_of_scikit_learns():
    random = np.random.default_rng(0)
    scores, gains = [], []
    for _ in range(300):
        rows = random.integers(0, 150, 150)
        first, second = (
            f1_score(MULTI_LABELS[rows], predicted[rows], average="micro")
            for predicted in (FIRST, SECOND)
        )
        scores.append(first)
        gains.append(first - second)
    for found, resampled in (
        (ratio_interval(*score_terms(FIRST, MULTI_LABELS)), scores),
        (gain_interval(FIRST, SECOND, MULTI_LABELS), gains),
    ):
        assert found == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist(), abs=0.02)


def test_with_one_label_per_image_micro_f1_is_accuracy():
    labels = np.random.default_rng(0).integers(0, 4, len(CORRECT))
    others = np.random.default_rng(1).random(300) < 0.7
    actual = np.eye(4, dtype=bool)[labels]
    one, other = (
        np.eye(4, dtype=bool)[np.where(correct, labels, (labels + 1) % 4)]
        for correct in (CORRECT, others)
    )
    expected = gain_interval(CORRECT, others, np.ones(300, bool))
    assert gain_interval(one, other, actual) == pytest.approx(expected)
    assert ratio_interval(*score_terms(one, actual)) == pytest.approx(
        accuracy_interval(int(CORRECT.sum()), 300), abs=0.001
    )


def test_without_positives_nothing_is_known_of_micro_f1():
    nothing = np.zeros((3, 2), bool)
    assert ratio_interval(*score_terms(nothing, nothing.astype(np.uint8))) == [0, 1]
    assert gain_interval(nothing, nothing, nothing.astype(np.uint8)) == [-1, 1]


@given(st.integers(1, 40), st.integers(1, 5), st.floats(0, 1), st.integers(0, 1000))
def test_every_interval_contains_its_own_score_and_is_no_point(n_images, n_classes, p, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_images)
    wrong = random.integers(0, n_classes, (2, n_images))
    one, other = np.where(random.random((2, n_images)) < p, labels, wrong)
    classes = np.eye(n_classes, dtype=bool)
    present = np.unique(labels)
    macro = f1_score(labels, one, labels=present, average="macro", zero_division=0)
    several = random.random((n_images, n_classes)) < p
    micro, other_micro = (
        f1_score(several, classes[each], average="micro", zero_division=0)
        if n_classes > 1
        else 2 * (several & classes[each]).sum() / (several.sum() + n_images)
        for each in (one, other)
    )
    right, others = one == labels, other == labels
    found = [
        (macro, macro_f1_interval(one, labels, n_classes=n_classes, **FEW)),
        (micro, ratio_interval(*score_terms(classes[one], several))),
        (micro - other_micro, gain_interval(classes[one], classes[other], several)),
        (right.mean() - others.mean(), gain_interval(one, other, labels)),
    ]
    if others.any():
        terms = [each for of in (one, other) for each in score_terms(of, labels)]
        low, high = ratio_quotient_interval(*terms)
        assert low - ROUNDING <= right.sum() / others.sum() <= high
    for score, (low, high) in found:
        assert low - ROUNDING <= score <= high + ROUNDING
        assert -1 <= low < high <= 1


@pytest.mark.parametrize(
    ("n_classes", "per_class", "right", "expected"),
    [
        (2000, 1, True, (0.995, 1)),
        (2000, 1, False, (0, 0.005)),
        (10, 1, True, (0.6, 1)),
        (2, 1000, True, (0.997, 1)),
    ],
)
def test_macro_f1_near_its_limits(n_classes, per_class, right, expected):
    labels = np.repeat(np.arange(n_classes), per_class)
    predicted = labels if right else (labels + 1) % n_classes
    low, high = macro_f1_interval(predicted, labels, n_classes=n_classes, **FEW)
    assert expected[0] <= low < high <= expected[1]
    assert (high if right else low) == right  # the score itself


def test_with_many_images_the_interval_of_macro_f1_agrees_with_resampling_of_scikit_learns():
    random = np.random.default_rng(2)
    labels = np.repeat(np.arange(4), [40, 80, 160, 320])
    predicted = np.where(random.random(600) < 0.6, labels, random.integers(0, 4, 600))
    by_class = np.split(np.arange(600), np.cumsum([40, 80, 160]))
    scores = []
    for _ in range(300):
        rows = np.concatenate([random.choice(of_class, len(of_class)) for of_class in by_class])
        scores.append(f1_score(labels[rows], predicted[rows], average="macro"))
    found = macro_f1_interval(predicted, labels, n_classes=4, resamples=1000, seed=0)
    assert found == pytest.approx(np.quantile(scores, [0.025, 0.975]).tolist(), abs=0.015)


def test_the_interval_of_macro_f1_is_of_the_classes_with_images():
    labels, predicted = np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2])
    low, high = macro_f1_interval(predicted, labels, n_classes=5, **FEW)
    assert 0.2 < low < (2 / 3 + 1) / 2 < high


def test_the_interval_of_macro_f1_depends_on_the_seed_and_not_on_the_memory(monkeypatch):
    labels = np.arange(60) % 6
    predicted = np.where(np.arange(60) % 5 == 0, 0, labels)
    one, again, other = (
        macro_f1_interval(predicted, labels, n_classes=6, resamples=100, seed=seed)
        for seed in (1, 1, 2)
    )
    assert one == again != other
    monkeypatch.setattr(intervals, "MAX_COUNTS_IN_MEMORY", 500)
    found = macro_f1_interval(predicted, labels, n_classes=6, resamples=100, seed=1)
    assert found == pytest.approx(one, abs=0.03)  # other random numbers


SIMULATIONS = {
    "accuracy": lambda random: COVERAGE.accuracy(random, n=20, p=0.9),
    "accuracy of 99 %": lambda random: COVERAGE.accuracy_gain(random, n=50, only=(0.02, 0.02)),
    "independent": lambda random: COVERAGE.independent_gain(random, n=50, p=(0.95, 0.9)),
    "seeds": lambda random: COVERAGE.seeds_gain(random, n=100, n_seeds=3, sd_of_seeds=0.2),
    "variants": lambda random: COVERAGE.accuracy_of_variants(random, n=30, p=0.9),
    "micro F1": lambda random: COVERAGE.micro_f1(random, n=20, recall=0.9, fallout=0.01),
    "gain": lambda random: COVERAGE.micro_f1_gain(random, n=20, recall=0.5, fallout=0.05),
    **{
        f"macro F1, {n_classes} x {per_class}": lambda random, n=n_classes, k=per_class: (
            COVERAGE.macro_f1(random, n_classes=n, per_class=k, p=0.9, equal=True)
        )
        for n_classes, per_class in ((2, 10), (10, 1), (10, 5), (100, 1), (100, 3))
    },
}


@pytest.mark.parametrize("task", ["single", "multi"])
def test_the_difference_of_a_model_to_itself_alone_is_a_point(task):
    outputs, others = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.9, 0.1], [0.3, 0.7]])
    predicted = np.array([0, 1]) if task == "single" else np.eye(2, dtype=bool)
    arrays = (predicted, predicted, predicted.astype(int))
    low, high = model_gain_interval(*arrays, outputs=outputs, reference_outputs=outputs)
    assert low == high == 0
    low, high = model_gain_interval(*arrays, outputs=others, reference_outputs=outputs)
    assert low < 0 < high  # another model with the same predictions


@pytest.mark.parametrize("simulate", SIMULATIONS.values(), ids=SIMULATIONS)
@pytest.mark.promise("interval-level")
def test_intervals_contain_the_true_score_in_about_95_percent_of_simulations(simulate):
    random = np.random.default_rng(0)
    found = [simulate(random) for _ in range(100)]
    assert np.mean([one.contains(one.truth) for one in found]) >= 0.91
    assert all(one.contains(one.score) for one in found)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(0, 0, 1), (5, 0, 2 / 32), (1, 3, 2 * (1 + 4) / 16), (2, 2, 1)],
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
