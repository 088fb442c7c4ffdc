"""What a classifier with one label an image scores."""

from typing import Any

import numpy as np
from sklearn.metrics import (
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from classifold.intervals import accuracy_interval


def score(
    probabilities: np.ndarray, labels: np.ndarray, *, calibration_bins: int
) -> dict[str, Any]:
    """Measure one model.

    Args:
        probabilities: float array (N, n_classes); each row sums to 1.
        labels: int array (N,).
        calibration_bins: bins of equal width for the calibration error.

    Returns:
        The entry of one model in `metrics/test.json`; with no images, `n_images` alone. Macro F1
        averages over all classes, those without an image among them; top-k of no more than k
        classes is 1.
    """
    n_images, n_classes = probabilities.shape
    if n_images == 0:
        return {"n_images": 0}
    hits = probabilities.argmax(axis=1) == labels
    classes = np.arange(n_classes)
    return {
        "accuracy": float(hits.mean()),
        "accuracy_ci95": accuracy_interval(int(hits.sum()), n_images),
        **{f"top{k}_accuracy": _top_k(probabilities, labels, k=k) for k in (3, 5)},
        "macro_f1": float(
            f1_score(
                labels,
                probabilities.argmax(axis=1),
                labels=classes,
                average="macro",
                zero_division=0,
            )
        ),
        "log_loss": float(log_loss(labels, probabilities, labels=classes)),
        "calibration_error": calibration_error(probabilities, labels, n_bins=calibration_bins),
        "n_images": n_images,
    }


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int) -> float:
    """Measure how far the top probability is, on average, from the hit rate.

    Images are binned by their top probability; the gap between mean probability and accuracy of
    each bin is weighted by the images it holds. 0 for a perfectly calibrated classifier.
    torchmetrics gives a probability of exactly 1 a bin of its own, so the bins are the table's.

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.
    """
    rows = calibration_table(probabilities, labels, n_bins=n_bins)
    gaps = (row["n_images"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return sum(gaps) / len(labels)


def calibration_table(
    probabilities: np.ndarray, labels: np.ndarray, *, n_bins: int
) -> list[dict[str, float]]:
    """Describe the bins of `calibration_error` that hold images; a bin includes its upper end.

    Returns:
        Rows of low, high (of the bin), n_images, confidence (mean top probability), accuracy.
    """
    top = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.clip(np.digitize(top, edges, right=True) - 1, 0, n_bins - 1)
    return [
        {
            "low": float(edges[i]),
            "high": float(edges[i + 1]),
            "n_images": int((bins == i).sum()),
            "confidence": float(top[bins == i].mean()),
            "accuracy": float(hits[bins == i].mean()),
        }
        for i in range(n_bins)
        if (bins == i).any()
    ]


def per_class_table(
    predicted: np.ndarray, labels: np.ndarray, classes: list[str]
) -> list[dict[str, Any]]:
    """Measure precision, recall, F1 and support of each class; an undefined ratio is 0."""
    columns = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), zero_division=0
    )
    return [
        {
            "class": name,
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def _top_k(probabilities: np.ndarray, labels: np.ndarray, *, k: int) -> float:
    n_classes = probabilities.shape[1]
    if k >= n_classes:
        return 1.0
    return float(top_k_accuracy_score(labels, probabilities, k=k, labels=np.arange(n_classes)))
