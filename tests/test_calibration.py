"""Calibration: by hand, and the error as that of its table."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from classifold.evaluation.calibration import calibration_error, calibration_table


@pytest.mark.parametrize(
    ("top", "correct", "expected"),
    [
        ([0.95] * 4, [False] * 4, 0.95),
        ([0.75] * 4, [True, True, True, False], 0.0),
        ([0.65, 0.65, 0.85, 0.85], [True] * 4, 0.25),  # of each bin 0.35 and 0.15
        ([0.62, 0.68], [True, False], 0.15),  # one bin, confidence 0.65, accuracy 0.5
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


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1))
@example(2, [(0.5, True), (0.75, False)])  # on the edge of two bins
@example(2, [(1.0, False), (0.9, True)])  # on the upper end
def test_the_calibration_error_is_that_of_its_table(n_bins, images):
    top, correct = np.array(images).T
    probabilities, labels = np.stack([top, 1 - top], axis=1), np.where(correct, 0, 1)
    table = calibration_table(probabilities, labels, n_bins=n_bins)
    assert sum(row["n_images"] for row in table) == len(images)
    for row in table:
        assert row["low"] - 1e-6 <= row["confidence"] <= row["high"] + 1e-6
        assert row["high"] - row["low"] == pytest.approx(1 / n_bins, abs=1e-5)
    gaps = [row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in table]
    error = calibration_error(probabilities, labels, n_bins=n_bins)
    assert sum(gaps) / len(images) == pytest.approx(error, abs=1e-5)


def test_a_bin_includes_its_upper_end_and_the_first_one_zero():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    table = calibration_table(probabilities, np.array([0, 1, 0]), n_bins=4)
    assert [(row["low"], row["n_images"]) for row in table] == [(0.25, 1), (0.5, 1), (0.75, 1)]
    table = calibration_table(probabilities, np.array([[1, 0], [1, 0], [1, 0]]), n_bins=4)
    expected = [(0, 2), (0.25, 2), (0.5, 1), (0.75, 1)]
    assert [(row["low"], row["n_images"]) for row in table] == expected
