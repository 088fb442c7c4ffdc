"""Temperatures that calibrate probabilities, and thresholds with the highest micro F1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.metrics import f1_score

from classifold.data.metrics import micro_f1
from classifold.models.decisions import fit_decision, fit_temperature, fit_threshold, probabilities


def logits_and_labels(n_images=2000, n_classes=4, *, temperature=1.0, seed=0):
    """Logits of a network, and labels drawn from its probabilities at `temperature`."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (n_images, n_classes))
    thresholds = softmax(logits / temperature, axis=1).cumsum(axis=1)
    labels = (random.random((n_images, 1)) > thresholds).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_synthetic_labels_is_recovered(temperature):
    logits, labels = logits_and_labels(20_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)
    several = np.random.default_rng(3).random(logits.shape) < expit(logits / temperature)
    assert fit_temperature(logits, several.astype(np.uint8)) == pytest.approx(temperature, rel=0.05)


@given(st.floats(0.3, 3))
def test_a_network_twice_as_loud_gets_twice_the_temperature(factor):
    logits, labels = logits_and_labels(200)
    expected = fit_temperature(logits, labels) * factor
    assert fit_temperature(logits * factor, labels) == pytest.approx(expected, rel=1e-3)


def test_on_many_images_it_is_the_minimum_of_the_log_loss():
    logits, labels = logits_and_labels(5000, temperature=2.0)

    def log_loss(temperature):
        scores = log_softmax(logits / temperature, axis=1)
        return -scores[np.arange(len(labels)), labels].mean()

    grid = np.linspace(1.5, 2.5, 201)
    best = grid[np.argmin([log_loss(temperature) for temperature in grid])]
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize("several", [False, True])
def test_on_few_images_it_is_the_minimum_of_the_log_loss_with_smoothed_targets(several):
    logits, labels = logits_and_labels(10, 3)
    if several:
        labels = np.eye(3, dtype=np.uint8)[labels]
        targets = np.where(labels, 11 / 12, 1 / 12)
    else:
        targets = np.full((10, 3), 1 / 24)  # 1 / (10 + 2), split between two classes
        targets[np.arange(10), labels] = 11 / 12

    def log_loss(temperature):
        scaled = logits / temperature
        if several:
            return -(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean()
        return -(targets * log_softmax(scaled, axis=1)).sum(axis=1).mean()

    grid = np.geomspace(0.05, 20, 2001)
    best = grid[np.argmin([log_loss(temperature) for temperature in grid])]
    assert 0.1 < best < 10
    assert fit_temperature(logits, labels) == pytest.approx(best, rel=0.005)


def test_a_constant_added_to_the_logits_of_an_image_does_not_change_the_temperature():
    logits, labels = logits_and_labels(10, 3)
    moved = logits + np.linspace(-5000, 5000, 10)[:, None]
    assert fit_temperature(moved, labels) == pytest.approx(fit_temperature(logits, labels))


def test_a_network_without_errors_on_few_images_has_a_finite_confidence():
    logits = np.eye(3)[[0, 1, 2, 0]] * 5
    temperature = fit_temperature(logits, np.array([0, 1, 2, 0]))
    # Two doubts in six images, as in Platt scaling: 1 / (4 + 2) is left to the other classes.
    top = probabilities(logits, temperature=temperature).max(axis=1)
    np.testing.assert_allclose(top, 5 / 6, rtol=1e-3)


@given(st.floats(0.05, 20), st.integers(2, 6))
def test_a_temperature_changes_confidence_but_not_the_prediction(temperature, n_classes):
    logits, _ = logits_and_labels(20, n_classes)
    values = probabilities(logits.astype(np.float32), temperature=temperature)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(values.argmax(axis=1), logits.argmax(axis=1))
    cooler = probabilities(logits, temperature=temperature * 2)
    assert (cooler.max(axis=1) <= values.max(axis=1) + 1e-6).all()


def test_probabilities_by_hand_and_without_overflow():
    values = probabilities(np.array([[0.0, np.log(9)], [5000, 0]]), temperature=2)
    np.testing.assert_allclose(values, [[0.25, 0.75], [1, 0]])
    independent = probabilities(np.array([[0.0, np.log(9)]]), temperature=2, task="multi")
    np.testing.assert_allclose(independent, [[0.5, 0.75]], rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "labels", "threshold"),
    [
        # Predicting the first scores 2/3, two 1/2, three 4/5, all four 2/3.
        ([0.9, 0.6, 0.4, 0.2], [1, 0, 1, 0], 0.3),
        # The first alone scores 2/3, all four 2/3: of equals the higher threshold is taken.
        ([0.8, 0.5, 0.5, 0.5], [1, 1, 0, 0], 0.65),
        ([0.1, 0.7], [0, 0], 0.5),  # without positive labels
        (np.empty((0, 3)), np.empty((0, 3)), 0.5),
    ],
)
def test_a_threshold_by_hand(values, labels, threshold):
    assert fit_threshold(np.array(values), np.array(labels)) == pytest.approx(threshold)


@given(st.integers(0, 10_000))
def test_no_other_threshold_has_a_higher_micro_f1(seed):
    random = np.random.default_rng(seed)
    labels = (random.random((20, 3)) < 0.3).astype(np.uint8)
    values = np.round(np.clip(random.random((20, 3)) + 0.3 * labels, 0, 1), 1)
    reached = micro_f1(values > fit_threshold(values, labels), labels)
    tried = [micro_f1(values > threshold, labels) for threshold in np.arange(-0.05, 1, 0.1)]
    assert reached >= max(tried) - 1e-12


@given(st.integers(0, 10_000))
def test_micro_f1_is_scikit_learns(seed):
    random = np.random.default_rng(seed)
    labels, predicted = random.random((2, 15, 4)) < 0.3
    expected = f1_score(labels, predicted, average="micro", zero_division=0)
    assert micro_f1(predicted, labels) == pytest.approx(expected)


def test_a_decision_has_a_threshold_for_all_and_one_for_each_class():
    random = np.random.default_rng(1)
    labels = (random.random((300, 3)) < [0.5, 0.2, 0.05]).astype(np.uint8)
    logits = 2.0 * labels - 1 + random.normal(0, 1, labels.shape)
    decision = fit_decision(logits, labels)
    values = probabilities(logits, temperature=decision["temperature"], task="multi")
    assert decision["threshold"] == fit_threshold(values, labels)
    assert decision["thresholds"][2] == fit_threshold(values[:, 2], labels[:, 2])
    assert fit_decision(logits, labels[:, 0].astype(np.int64)).keys() == {"temperature"}
