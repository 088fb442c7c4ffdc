"""Abstention: no prediction for images of low confidence, so that the others are more accurate.

The confidence of a prediction is its probability; with several labels per image that of all
classes, present and absent, as if they were independent. A prediction is then correct if all its
classes are.

The threshold for a wanted accuracy is chosen cautiously: at the accuracy that the calibration
images show, half of all thresholds would miss the wanted accuracy on other images. Therefore the
lower limit of the accuracy has to reach it (as in Geifman and El-Yaniv 2017, without their
correction for the number of thresholds that are tried).

Source: Geifman, El-Yaniv 2017, arXiv:1705.08500, section 3; Clopper, Pearson 1934, Biometrika 26,
404-413.
"""

import numpy as np
from scipy.special import betaincinv

from classifold.data.predictions import probability_of
from classifold.models.prediction_sets import rounded_down

ERROR_PROBABILITY = 0.05  # one-sided, of the lower limit


def confidences(probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Compute the confidence of each prediction, in [0, 1]: float array (N,).

    Args:
        probabilities: float array (N, n_classes).
        predicted: int array (N,), or bool (N, n_classes).
    """
    return probability_of(predicted, probabilities)


def all_correct(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find the images of which the label, or all labels, are predicted: bool array (N,)."""
    equal = predicted == labels
    return equal if equal.ndim == 1 else equal.all(axis=1)


def fit_confidence_threshold(
    confidence: np.ndarray, correct: np.ndarray, *, accuracy: float
) -> float | None:
    """Find the lowest confidence from which on predictions have an accuracy.

    Args:
        confidence: float array (N,), of calibration images.
        correct: bool array (N,).
        accuracy: the wanted one, in (0, 1).

    Returns:
        A number of six decimal places; None if no threshold reaches the accuracy.
    """
    values = rounded_down(confidence)
    order = np.argsort(-values, kind="stable")
    values, n_correct = values[order], correct[order].cumsum()
    n_images = np.arange(1, len(values) + 1)
    reached = lower_limits(n_correct, n_images) >= accuracy
    # Images of equal confidence are on the same side of a threshold.
    reached[:-1] &= values[:-1] > values[1:]
    return float(values[reached][-1]) if reached.any() else None


def lower_limits(n_correct: np.ndarray, n_images: np.ndarray) -> np.ndarray:
    """Compute Clopper and Pearson's lower limit of accuracies, one-sided at 95 %.

    Args:
        n_correct: int array.
        n_images: int array of the same shape, at least 1.
    """
    some = np.maximum(n_correct, 1)
    limits = betaincinv(some, n_images - some + 1, ERROR_PROBABILITY)
    return np.where(n_correct > 0, limits, 0.0)
