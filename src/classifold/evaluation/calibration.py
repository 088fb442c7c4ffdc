"""Compare predicted probabilities with how often the predictions are correct."""

import numpy as np


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int) -> float:
    """Compute the expected calibration error; 0 for a perfectly calibrated classifier.

    With one label per image the top probability is compared with the accuracy. With several
    labels, the probability of each class is compared with the fraction of images that have it,
    over all pairs of image and class. Probabilities are binned; the gap between the mean
    probability and that fraction in each bin is weighted by the number of elements in the bin.

    Args:
        probabilities: float array (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        n_bins: number of bins of equal width.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.
    """
    rows = calibration_table(probabilities, labels, n_bins=n_bins)
    gaps = (row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return sum(gaps) / labels.size


def calibration_table(
    probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int
) -> list[dict[str, float]]:
    """Describe the non-empty bins of `calibration_error`; a bin includes its upper end.

    Returns:
        Rows of low, high (of the bin), n_images (with several labels pairs of image and class),
        confidence (mean probability), accuracy (with several labels the fraction of positives).
    """
    if labels.ndim == 1:
        confidences = probabilities.max(axis=1)
        outcomes = probabilities.argmax(axis=1) == labels
    else:
        confidences, outcomes = probabilities.ravel(), labels.ravel() > 0
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.digitize(confidences, edges, right=True) - 1, 0, n_bins - 1)
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "n_images": int((bins == i).sum()),
            "confidence": float(confidences[bins == i].mean()),
            "accuracy": float(outcomes[bins == i].mean()),
        }
        for i in range(n_bins)
        if (bins == i).any()
    ]
