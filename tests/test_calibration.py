"""Calibration: by hand, and the error as that of its table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from classifold.evaluation.calibration import calibration_error, calibration_table

RANDOM = np.random.default_rng(0)
PROBABILITIES = softmax(RANDOM.normal(0, 2, (80, 6)), axis=1)
LABELS = RANDOM.integers(0, 6, 80)


@pytest.mark.parametrize(
    ("top", "correct", "expected"),
    [
        pytest.param([0.95] * 4, [False] * 4, 0.95, id="confident and wrong"),
        pytest.param([0.75] * 4, [True, True, True, False], 0.0, id="confidence equals accuracy"),
        pytest.param([0.65, 0.65, 0.85, 0.85], [True] * 4, 0.25, id="weighted by images"),
        pytest.param(
            [0.62, 0.68], [True, False], 0.15, id="one bin, confidence 0.65, accuracy 0.5"
        ),
    ],
)
def test_the_calibration_error_by_hand(top, correct, expected):
    probabilities = np.array([[p, 1 - p] for p in top])
    labels = np.where(correct, 0, 1)
    assert calibration_error(probabilities, labels, n_bins=10) == pytest.approx(expected, abs=1e-6)


def test_with_several_labels_every_pair_of_image_and_class_counts():
    probabilities = np.array([[0.9, 0.3], [0.7, 0.1]])
    labels = np.array([[1, 0], [0, 1]], np.uint8)
    # Two bins: 0.3 and 0.1 half of which are positive, and 0.9 and 0.7, half of which are.
    assert calibration_error(probabilities, labels, n_bins=2) == pytest.approx((0.3 + 0.3) / 2)
    table = calibration_table(probabilities, labels, n_bins=2)
    assert [row["n_images"] for row in table] == [2, 2]
    assert [row["accuracy"] for row in table] == [0.5, 0.5]


def error_of_table(table, n_images):
    return sum(row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in table) / (
        n_images
    )


@given(st.integers(1, 20), st.integers(0, 30))
def test_the_calibration_error_is_that_of_its_table(n_bins, seed):
    random = np.random.default_rng(seed)
    probabilities = softmax(random.normal(0, 2, (40, 3)), axis=1)
    labels = random.integers(0, 3, 40)
    table = calibration_table(probabilities, labels, n_bins=n_bins)
    expected = calibration_error(probabilities, labels, n_bins=n_bins)
    assert error_of_table(table, 40) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("top", "labels"),
    [
        pytest.param([0.5, 0.75], [0, 1], id="on the edge of two bins"),
        pytest.param([1.0, 0.9], [1, 0], id="on the upper end"),
    ],
)
def test_table_and_error_put_a_probability_on_an_edge_into_the_same_bin(top, labels):
    probabilities, labels = np.array([[p, 1 - p] for p in top]), np.array(labels)
    table = calibration_table(probabilities, labels, n_bins=2)
    error = calibration_error(probabilities, labels, n_bins=2)
    assert error_of_table(table, len(labels)) == pytest.approx(error, abs=1e-6)


def test_a_bin_includes_its_upper_end_and_the_first_one_zero():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    table = calibration_table(probabilities, np.array([0, 1, 0]), n_bins=4)
    assert [(row["low"], row["n_images"]) for row in table] == [(0.25, 1), (0.5, 1), (0.75, 1)]
    table = calibration_table(probabilities, np.array([[1, 0], [1, 0], [1, 0]]), n_bins=4)
    expected = [(0, 2), (0.25, 2), (0.5, 1), (0.75, 1)]
    assert [(row["low"], row["n_images"]) for row in table] == expected


def test_every_image_is_in_the_bin_of_its_probability():
    table = calibration_table(PROBABILITIES, LABELS, n_bins=7)
    assert sum(row["n_images"] for row in table) == 80
    for row in table:
        assert row["low"] <= row["confidence"] <= row["high"]
        assert row["high"] - row["low"] == pytest.approx(1 / 7, abs=1e-5)
