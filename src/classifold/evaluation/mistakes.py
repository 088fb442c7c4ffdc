"""The mistakes a model was surest of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from classifold.evaluation.inference import Predictions

COLUMNS = {
    "single": ("id", "label", "predicted", "probability"),
    "multi": ("id", "class", "positive", "probability"),
}

MOST_MISTAKES = 100


def worst_mistakes(
    predictions: Predictions, labels: np.ndarray, *, ids: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """List at most `MOST_MISTAKES`, the surest first.

    Args:
        predictions: for N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        ids: of the images.
        classes: names in the order of columns.

    Returns:
        Rows of id, label, predicted, probability (of the predicted class). With several labels per
        image each pair of image and class is one prediction: id, class, borne (whether the image
        has the class), probability (that it does). The lower the probability of a false negative,
        the more confident the mistake.
    """
    shares, predicted = predictions.probabilities, predictions.predicted
    if labels.ndim == 1:
        (wrong,) = np.nonzero(predicted != labels)
        sure = shares[wrong, predicted[wrong]]
        ranked = wrong[np.argsort(-sure, kind="stable")][:MOST_MISTAKES]
        return [
            {
                "id": ids[i],
                "label": classes[labels[i]],
                "predicted": classes[predicted[i]],
                "probability": round(float(shares[i, predicted[i]]), 6),
            }
            for i in ranked
        ]
    pairs = np.argwhere(predicted != (labels > 0))
    images, of_class = pairs.T
    sure = np.abs(shares - labels)[images, of_class]
    return [
        {
            "id": ids[i],
            "class": classes[k],
            "positive": str(bool(labels[i, k])).lower(),
            "probability": round(float(shares[i, k]), 6),
        }
        for i, k in pairs[np.argsort(-sure, kind="stable")][:MOST_MISTAKES]
    ]
