"""Prediction sets: as many classes as it takes to contain the label with a given probability.

Split conformal prediction with the probability of each class as its score (Sadinle et al. 2019;
least ambiguous sets). If the calibration images and a new image are exchangeable, and nothing else
was fitted on the calibration images, the set of a new image contains its label with a probability
of at least the level, over all draws of these images. With several labels per image the same
promise is about the fraction of an image's labels that its set contains, in the mean over images
that have a label (conformal risk control, Angelopoulos et al. 2024).

MAPIE has both methods. It calibrates estimators, which would have to be pickled; here one number
per level is stored beside the temperature. A test compares the sets with those of MAPIE.

Sources: Sadinle, Lei, Wasserman 2019, JASA 114 (525), 223-234; Angelopoulos, Bates, Fisch, Lei,
Schuster 2024, arXiv:2208.02814, section 1.
"""

import numpy as np

from classifold.data.json_file import DECIMAL_PLACES
from classifold.data.metrics import task_of

ROUNDING = 1e-9  # of sums of fractions, relative to the number of images
ALL_CLASSES = 0.0  # as a threshold


def fit_set_threshold(probabilities: np.ndarray, labels: np.ndarray, *, level: float) -> float:
    """Find the probability from which on a class is in the set.

    It is the highest one at which the sets contain (N + 1) * level of the labels of the N images
    that have a label; labels of one image count as one image.

    Args:
        probabilities: float array (N, n_classes), of calibration images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        level: in (0, 1).

    Returns:
        A number in [0, 1] of six decimal places; 0, so that a set has all classes, if there are
        too few images for the level: fewer than level / (1 - level).
    """
    positive = label_weights(labels, n_classes=probabilities.shape[1])
    n_images = int((positive > 0).any(axis=1).sum())
    rows, columns = np.nonzero(positive)
    values = rounded_down(probabilities[rows, columns])
    order = np.argsort(-values, kind="stable")
    covered = positive[rows, columns][order].cumsum()
    enough = np.flatnonzero(covered >= (n_images + 1) * (level - ROUNDING))
    return float(values[order][enough[0]]) if len(enough) else ALL_CLASSES


def prediction_sets(probabilities: np.ndarray, threshold: float, *, task: str) -> np.ndarray:
    """Find the classes in the set of each image.

    Args:
        probabilities: float array (N, n_classes).
        threshold: as `fit_set_threshold` returns it.
        task: with one label per image (`single`) the most probable class is always in the set, so
            that no set is empty; sets of several labels may be.

    Returns:
        bool array (N, n_classes).
    """
    sets = probabilities >= threshold
    if task == "single":
        sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def label_weights(labels: np.ndarray, *, n_classes: int) -> np.ndarray:
    """Split a weight of 1 equally between the labels of each image: float (N, n_classes).

    Args:
        labels: int array (N,), or 0 and 1 in (N, n_classes). An image without labels has zeros.
        n_classes: number of classes.
    """
    if task_of(labels) == "single":
        return np.eye(n_classes)[labels]
    return (labels > 0) / np.maximum((labels > 0).sum(axis=1, keepdims=True), 1)


def rounded_down(values: np.ndarray) -> np.ndarray:
    """Round down to the decimal places of JSON files, so that a stored threshold is no higher."""
    return np.floor(values * 10**DECIMAL_PLACES) / 10**DECIMAL_PLACES
