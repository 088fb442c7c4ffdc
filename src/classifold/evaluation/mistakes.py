"""List the most confident mistakes of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from classifold.evaluation.inference import Predictions

COLUMNS = {
    "single": ("id", "label", "predicted", "probability"),
    "multi": ("id", "class", "positive", "probability"),
}

MAX_MISTAKES = 100


def worst_mistakes(
    predictions: Predictions, labels: np.ndarray, *, ids: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """List at most `MAX_MISTAKES` mistakes, the most confident first.

    Args:
        predictions: for N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        ids: ids of the images.
        classes: names in the order of columns.

    Returns:
        Rows of id, label, predicted, probability (of the predicted class). With several labels per
        image each pair of image and class is one prediction: id, class, positive (whether the image
        has the class), probability (that it does). The lower the probability of a false negative,
        the more confident the mistake.
    """
    probabilities, predicted = predictions.probabilities, predictions.predicted
    if labels.ndim == 1:
        (wrong,) = np.nonzero(predicted != labels)
        confidences = probabilities[wrong, predicted[wrong]]
        ranked = wrong[np.argsort(-confidences, kind="stable")][:MAX_MISTAKES]
        return [
            {
                "id": ids[i],
                "label": classes[labels[i]],
                "predicted": classes[predicted[i]],
                "probability": round(float(probabilities[i, predicted[i]]), 6),
            }
            for i in ranked
        ]
    pairs = np.argwhere(predicted != (labels > 0))
    images, of_class = pairs.T
    errors = np.abs(probabilities - labels)[images, of_class]
    return [
        {
            "id": ids[i],
            "class": classes[k],
            "positive": str(bool(labels[i, k])).lower(),
            "probability": round(float(probabilities[i, k]), 6),
        }
        for i, k in pairs[np.argsort(-errors, kind="stable")][:MAX_MISTAKES]
    ]
