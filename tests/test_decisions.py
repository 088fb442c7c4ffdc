"""Temperatures that make probabilities honest, and intervals that say how sure a score is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from scipy.stats import bootstrap, norm
from sklearn.metrics import f1_score

from classifold.decisions import (
    fit_decision,
    fit_temperature,
    fit_threshold,
    micro_f1,
    probabilities,
)
from classifold.intervals import accuracy_interval, gain_interval, micro_f1_gain_interval


def answers(n_images=2000, n_classes=4, *, temperature=1.0, seed=0):
    """Logits of a network, and labels drawn from its probabilities at `temperature`."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (n_images, n_classes))
    thresholds = softmax(logits / temperature, axis=1).cumsum(axis=1)
    labels = (random.random((n_images, 1)) > thresholds).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_at_which_labels_were_drawn_is_found(temperature):
    logits, labels = answers(20_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


@given(st.floats(0.3, 3))
def test_a_network_twice_as_loud_gets_twice_the_temperature(factor):
    logits, labels = answers(200)
    expected = fit_temperature(logits, labels) * factor
    assert fit_temperature(logits * factor, labels) == pytest.approx(expected, rel=1e-3)


def test_on_many_images_it_is_the_minimum_of_the_log_loss():
    logits, labels = answers(5000, temperature=2.0)

    def log_loss(temperature):
        scores = log_softmax(logits / temperature, axis=1)
        return -scores[np.arange(len(labels)), labels].mean()

    grid = np.linspace(1.5, 2.5, 201)
    best = grid[np.argmin([log_loss(temperature) for temperature in grid])]
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=0.01)


def test_a_network_without_a_mistake_on_few_images_is_not_taken_for_infallible():
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    temperature = fit_temperature(logits, np.array([0, 1, 2, 0]))
    # Two doubts in six images, as in Platt scaling: 1 / (4 + 2) is left to the other classes.
    top = probabilities(logits, temperature=temperature).max(axis=1)
    np.testing.assert_allclose(top, 5 / 6, rtol=1e-3)


@given(st.floats(0.05, 20), st.integers(2, 6))
def test_a_temperature_changes_how_sure_an_answer_is_but_not_which(temperature, n_classes):
    logits, _ = answers(20, n_classes)
    shares = probabilities(logits.astype(np.float32), temperature=temperature)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(shares.argmax(axis=1), logits.argmax(axis=1))
    cooler = probabilities(logits, temperature=temperature * 2)
    assert (cooler.max(axis=1) <= shares.max(axis=1) + 1e-6).all()


def test_probabilities_by_hand_and_without_overflow():
    shares = probabilities(np.array([[0.0, np.log(9)], [5000, 0]]), temperature=2)
    np.testing.assert_allclose(shares, [[0.25, 0.75], [1, 0]])


def test_with_several_labels_each_class_is_answered_by_itself():
    logits = np.array([[0.0, np.log(3) * 2]])
    np.testing.assert_allclose(
        probabilities(logits, temperature=2.0, task="multi"), [[0.5, 0.75]], rtol=1e-12
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_temperature_of_several_labels_is_found_too(temperature):
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, (4000, 5))
    labels = (random.random(logits.shape) < expit(logits / temperature)).astype(np.uint8)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.1)


def test_a_threshold_by_hand():
    shares = np.array([0.9, 0.6, 0.4, 0.2])
    labels = np.array([1, 0, 1, 0])
    # Answering the first scores 2/3, two 1/2, three 4/5, all four 2/3.
    assert fit_threshold(shares, labels) == pytest.approx(0.3)


def test_equal_probabilities_are_answered_together():
    shares = np.array([0.8, 0.5, 0.5, 0.5])
    labels = np.array([1, 1, 0, 0])
    # The first alone scores 2/3, all four 2/3: of equals the higher threshold is taken.
    assert fit_threshold(shares, labels) == pytest.approx(0.65)


def test_where_nothing_is_borne_the_threshold_is_a_half():
    assert fit_threshold(np.array([0.1, 0.7]), np.array([0, 0])) == 0.5


@given(st.integers(0, 10_000))
def test_no_other_threshold_has_a_higher_micro_f1(seed):
    random = np.random.default_rng(seed)
    labels = (random.random((20, 3)) < 0.3).astype(np.uint8)
    shares = np.round(np.clip(random.random((20, 3)) + 0.3 * labels, 0, 1), 1)
    reached = micro_f1(shares > fit_threshold(shares, labels), labels)
    tried = [micro_f1(shares > threshold, labels) for threshold in np.arange(-0.05, 1, 0.1)]
    assert reached >= max(tried) - 1e-12


@given(st.integers(0, 10_000))
def test_micro_f1_is_scikit_learns(seed):
    random = np.random.default_rng(seed)
    labels, answers = random.random((2, 15, 4)) < 0.3
    expected = f1_score(labels, answers, average="micro", zero_division=0)
    assert micro_f1(answers, labels) == pytest.approx(expected)


def test_a_decision_has_a_threshold_for_all_and_one_for_each_class():
    random = np.random.default_rng(1)
    labels = (random.random((300, 3)) < [0.5, 0.2, 0.05]).astype(np.uint8)
    logits = 2.0 * labels - 1 + random.normal(0, 1, labels.shape)
    decision = fit_decision(logits, labels)
    values = probabilities(logits, temperature=decision["temperature"], task="multi")
    assert decision["threshold"] == fit_threshold(values, labels)
    assert decision["thresholds"][2] == fit_threshold(values[:, 2], labels[:, 2])
    assert fit_decision(logits, labels[:, 0].astype(np.int64)).keys() == {"temperature"}


def test_wilsons_interval_by_its_formula():
    n_hits, n_images = 70, 100
    z, share = norm.ppf(0.975), n_hits / n_images
    centre = (share + z**2 / (2 * n_images)) / (1 + z**2 / n_images)
    half = z * np.sqrt(share * (1 - share) / n_images + z**2 / (4 * n_images**2))
    half /= 1 + z**2 / n_images
    assert accuracy_interval(n_hits, n_images) == pytest.approx([centre - half, centre + half])


def test_an_interval_does_not_shrink_to_a_point_when_every_image_was_hit():
    low, high = accuracy_interval(10, 10)
    assert (low, high) == (pytest.approx(10 / (10 + norm.ppf(0.975) ** 2)), pytest.approx(1))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_estimate_and_mirrors_for_misses(hits_of):
    n_hits, n_images = hits_of
    low, high = accuracy_interval(n_hits, n_images)
    assert 0 <= low <= n_hits / n_images + 1e-12
    assert n_hits / n_images - 1e-12 <= high <= 1
    assert accuracy_interval(n_images - n_hits, n_images) == pytest.approx([1 - high, 1 - low])


HITS = np.random.default_rng(0).random(300) < 0.8
OTHERS = np.random.default_rng(1).random(300) < 0.7


def test_the_gain_interval_agrees_with_scipys_paired_bootstrap():
    expected = bootstrap(
        (HITS.astype(float), OTHERS.astype(float)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    interval = gain_interval(HITS, OTHERS, resamples=5000, seed=0)
    assert interval == pytest.approx([expected.low, expected.high], abs=0.008)


def test_a_model_gains_nothing_over_itself():
    assert gain_interval(HITS, HITS, resamples=1000, seed=0) == [0, 0]


def test_a_gain_for_one_is_a_loss_for_the_other():
    low, high = gain_interval(HITS, OTHERS, resamples=20_000, seed=0)
    assert gain_interval(OTHERS, HITS, resamples=20_000, seed=0) == pytest.approx(
        [-high, -low], abs=0.008
    )


def test_what_is_hard_for_both_does_not_widen_the_interval():
    easy = np.ones(300, bool)
    easy[:6] = False
    hard = HITS & easy
    low, high = gain_interval(HITS, hard, resamples=5000, seed=0)
    n_lost = (HITS & ~easy).sum()
    assert 0 <= low <= n_lost / 300 <= high
    assert high - low < 0.03  # two independent intervals of 300 images are wider than 0.1


def test_the_same_seed_draws_the_same_interval():
    intervals = [gain_interval(HITS, OTHERS, resamples=200, seed=seed) for seed in (1, 1, 2)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_with_one_answer_and_one_label_an_image_the_gain_in_micro_f1_is_that_in_accuracy():
    labels = np.random.default_rng(0).integers(0, 4, len(HITS))
    borne = np.eye(4, dtype=bool)[labels]
    answers, others = (
        np.eye(4, dtype=bool)[np.where(hits, labels, (labels + 1) % 4)] for hits in (HITS, OTHERS)
    )
    interval = micro_f1_gain_interval(answers, others, borne, resamples=20_000, seed=0)
    expected = gain_interval(HITS, OTHERS, resamples=20_000, seed=1)
    assert interval == pytest.approx(expected, abs=0.008)


def test_the_interval_of_a_gain_in_micro_f1_agrees_with_scikit_learn_on_resamples():
    random = np.random.default_rng(0)
    labels = random.random((60, 3)) < 0.4
    answers, others = (labels ^ (random.random((60, 3)) < share) for share in (0.1, 0.2))
    gains = []
    for _ in range(2000):
        rows = random.integers(0, 60, 60)
        scores = (f1_score(labels[rows], a[rows], average="micro") for a in (answers, others))
        gains.append(next(scores) - next(scores))
    interval = micro_f1_gain_interval(answers, others, labels, resamples=20_000, seed=0)
    assert interval == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=0.012)
