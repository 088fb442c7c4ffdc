"""Abstention from predictions of low confidence: thresholds and risk-coverage curves."""

import numpy as np
import pytest
from scipy.stats import binomtest

from classifold.evaluation.risk_coverage import risk_coverage_curve
from classifold.models import abstention
from classifold.models.abstention import confidences, fit_confidence_threshold, lower_limits


def test_confidence_is_the_probability_of_the_prediction():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1]])
    assert confidences(probabilities, np.array([0, 1])).tolist() == [0.7, 0.4]
    several = np.array([[True, False, False], [False, False, False]])
    expected = [0.7 * 0.8 * 0.9, 0.5 * 0.6 * 0.9]
    assert confidences(probabilities, several) == pytest.approx(expected)


def test_with_several_labels_a_prediction_is_correct_if_all_its_classes_are():
    predicted = np.array([[True, False], [True, True], [False, False]])
    labels = np.array([[1, 0], [1, 0], [0, 0]], np.uint8)
    assert abstention.all_correct(predicted, labels).tolist() == [True, False, True]
    assert abstention.all_correct(np.array([1, 0]), np.array([1, 2])).tolist() == [True, False]


def test_lower_limits_are_those_of_scipy():
    n_correct, n_images = np.array([0, 1, 59, 95, 100]), np.array([10, 1, 59, 100, 100])
    tests = [binomtest(*of, alternative="greater") for of in np.stack([n_correct, n_images]).T]
    expected = [test.proportion_ci(0.95, method="exact").low for test in tests]
    assert lower_limits(n_correct, n_images) == pytest.approx(expected)


def test_a_threshold_by_hand():
    # Lower limits of 3 of 3: 0.05 ** (1 / 3) = 0.37; 4 of 4: 0.47; 4 of 5: 0.34; 5 of 6: 0.42.
    confidence = np.array([0.5, 0.9, 0.8, 0.7, 0.6, 0.4])
    correct = np.array([False, True, True, True, True, True])
    for accuracy, threshold in {0.3: 0.4, 0.4: 0.4, 0.45: 0.6, 0.5: None}.items():
        assert fit_confidence_threshold(confidence, correct, accuracy=accuracy) == threshold


@pytest.mark.parametrize(("n_images", "reached"), [(0, False), (58, False), (59, True)])
def test_an_accuracy_of_95_percent_takes_59_images_without_an_error(n_images, reached):
    confidence = np.linspace(0.5, 1, n_images)
    threshold = fit_confidence_threshold(confidence, np.ones(n_images, bool), accuracy=0.95)
    assert threshold == (0.5 if reached else None)


def test_images_of_equal_confidence_are_on_the_same_side_of_a_threshold():
    # The first 60 are correct and so could be kept, but 40 more have the same confidence.
    confidence, correct = np.full(100, 0.8), np.arange(100) < 60
    assert fit_confidence_threshold(confidence, correct, accuracy=0.9) is None
    assert fit_confidence_threshold(confidence, correct, accuracy=0.5) == 0.8


def test_a_fitted_threshold_seldom_misses_the_wanted_accuracy():
    # Calibrated confidences, so that the true accuracy above a threshold is their mean.
    random = np.random.default_rng(0)
    population = random.beta(3, 1, 100_000)
    missed = 0
    for _ in range(200):
        confidence = random.choice(population, 400)
        correct = random.random(400) < confidence
        threshold = fit_confidence_threshold(confidence, correct, accuracy=0.8)
        if threshold is not None:
            missed += population[population >= threshold].mean() < 0.8
    # 5 % at one given threshold; several are tried. The plain accuracy would miss a half.
    assert 0 < missed / 200 < 0.12


def test_a_risk_coverage_curve_by_hand():
    confidence = np.array([0.6, 0.9, 0.8, 0.7])
    correct = np.array([True, True, False, True])
    curve = risk_coverage_curve(confidence, correct)
    assert curve.confidence.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.error_rate == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 4)
    # With the error last the area would be 1 / 4 / 4.
    assert curve.excess_area == pytest.approx((1 / 2 + 1 / 3) / 4)


def test_equal_confidences_count_as_if_in_a_random_order():
    curve = risk_coverage_curve(np.array([0.9, 0.5, 0.5, 0.5]), np.array([True, False, True, True]))
    assert curve.error_rate == pytest.approx([0, 1 / 6, 2 / 9, 1 / 4])
    same = risk_coverage_curve(np.full(5, 0.4), np.array([False, True, True, False, True]))
    assert same.error_rate == pytest.approx([0.4] * 5)


@pytest.mark.parametrize("correct", [True, False])
def test_without_errors_or_without_correct_predictions_nothing_can_be_gained(correct):
    curve = risk_coverage_curve(np.linspace(0, 1, 7), np.full(7, correct))
    assert curve.area == (0 if correct else 1)
    assert curve.excess_area == 0
