"""Whether probabilities are as high as the share of answers that are right."""

import numpy as np


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int) -> float:
    """Measure how far probabilities are, on average, from what comes true.

    With one label an image the top probability is compared with the hit rate; with several, the
    probability of each class with the share of images that bear it, over all pairs of image and
    class. Probabilities are binned; the gap between mean probability and that share in each bin is
    weighted by what the bin holds. 0 for a perfectly calibrated classifier.

    Args:
        probabilities: float array (N, n_classes).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        n_bins: of equal width.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.
    """
    rows = calibration_table(probabilities, labels, n_bins=n_bins)
    gaps = (row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return sum(gaps) / labels.size


def calibration_table(
    probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int
) -> list[dict[str, float]]:
    """Describe the bins of `calibration_error` that hold images; a bin includes its upper end.

    Returns:
        Rows of low, high (of the bin), n_images (with several labels pairs of image and class),
        confidence (mean probability), accuracy (share that came true).
    """
    if labels.ndim == 1:
        claimed = probabilities.max(axis=1)
        true = probabilities.argmax(axis=1) == labels
    else:
        claimed, true = probabilities.ravel(), labels.ravel() > 0
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.digitize(claimed, edges, right=True) - 1, 0, n_bins - 1)
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "n_images": int((bins == i).sum()),
            "confidence": float(claimed[bins == i].mean()),
            "accuracy": float(true[bins == i].mean()),
        }
        for i in range(n_bins)
        if (bins == i).any()
    ]
