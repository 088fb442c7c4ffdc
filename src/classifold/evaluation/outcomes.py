"""Count the outcomes of predictions, class by class.

scikit-learn reads a column of labels (N, 1) as one label of two classes; here it is one class.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from classifold.data.metrics import f1


class Outcomes(NamedTuple):
    """Numbers of images, int arrays (n_classes,)."""

    true_positives: np.ndarray
    predicted: np.ndarray  # true and false positives
    actual: np.ndarray  # true positives and false negatives
    n_images: int

    @property
    def precision(self) -> np.ndarray:
        """The fraction of predictions that are correct; 0 where there are none."""
        return self.true_positives / np.maximum(self.predicted, 1)

    @property
    def recall(self) -> np.ndarray:
        """The fraction of images of a class that are predicted as it; 0 where there are none."""
        return self.true_positives / np.maximum(self.actual, 1)

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of both; 0 where nothing is predicted or actual."""
        return f1(self.true_positives, self.predicted, self.actual)


def count_outcomes(
    predicted: np.ndarray, labels: np.ndarray, *, n_classes: int | None = None
) -> Outcomes:
    """Count the outcomes of each class.

    Args:
        predicted: int array (N,), values in [0, n_classes); or bool (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        n_classes: number of classes; needed with one label per image.
    """
    if labels.ndim > 1:
        present = labels > 0
        true_positives = (predicted & present).sum(axis=0)
        return Outcomes(true_positives, predicted.sum(axis=0), present.sum(axis=0), len(labels))
    correct, positives, actual = (
        np.bincount(classes, minlength=n_classes or 0)
        for classes in (labels[predicted == labels], predicted, labels)
    )
    return Outcomes(correct, positives, actual, len(labels))


def describe_absent_classes(entry: Mapping[str, Any]) -> str:
    """State how many classes of an entry of `metrics/test.json` have no test image.

    Returns:
        An empty text if each class has one, or if there are no test images.
    """
    if not entry["n_images"] or entry["n_classes_present"] == entry["n_classes"]:
        return ""
    n_classes, n_present = entry["n_classes"], entry["n_classes_present"]
    return f"{n_classes - n_present:,} of {n_classes:,} classes have no test image and count as 0"
