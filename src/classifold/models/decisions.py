"""From logits to answers one can believe: temperatures and thresholds, fitted on validation images.

Whoever measures or predicts applies a decision and never fits one.
"""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))


def fit_decision(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fit all that a model's answers need.

    Args:
        logits: float array (N, n_classes) of images the network was not trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        `temperature`; with several labels also `threshold` (for all classes) and `thresholds`
        (one for each), of probabilities after the temperature.
    """
    temperature = fit_temperature(logits, labels)
    if labels.ndim == 1:
        return {"temperature": temperature}
    shares = probabilities(logits, temperature=temperature, task="multi")
    return {
        "temperature": temperature,
        "threshold": fit_threshold(shares, labels),
        "thresholds": [
            fit_threshold(of_class, borne)
            for of_class, borne in zip(shares.T, labels.T, strict=True)
        ],
    }


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the divisor of logits that minimizes log loss.

    As in Platt scaling, each label keeps a small doubt, 1 / (N + 2), shared by the other
    classes: else a network without a mistake on N images would be taken for infallible.

    Args:
        logits: float array (N, n_classes) of images the network was not trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        A number in [0.05, 20]; above 1 the network was too sure of itself.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2; Platt 1999, section 2.2.
    """
    n_images, n_classes = logits.shape
    doubt = 1 / (n_images + 2)
    logits = logits.astype(np.float64)
    if labels.ndim == 1:
        targets = np.full((n_images, n_classes), doubt / (n_classes - 1))
        targets[np.arange(n_images), labels] = 1 - doubt
    else:
        targets = np.where(labels > 0, 1 - doubt, doubt)

    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if labels.ndim == 1:
            return -(targets * log_softmax(scaled, axis=1)).sum(axis=1).mean()
        return -(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean()

    return float(np.exp(minimize_scalar(log_loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def fit_threshold(shares: np.ndarray, labels: np.ndarray) -> float:
    """Find the threshold with the highest F1 over all given pairs of image and class.

    Args:
        shares: probabilities, float array of any shape.
        labels: 0 and 1, in the same shape.

    Returns:
        A number in (0, 1), in the middle between the last probability that is answered and the
        first that is not; 0.5 where nothing is borne, so that every threshold scores 0.
    """
    order = np.argsort(-shares, axis=None, kind="stable")
    ranked, borne = shares.ravel()[order], labels.ravel()[order]
    n_answered = np.arange(1, len(ranked) + 1)
    scores = 2 * borne.cumsum() / (n_answered + borne.sum())
    # Equal probabilities are answered together.
    scores[:-1][ranked[:-1] == ranked[1:]] = -1
    best = int(scores.argmax())
    if scores[best] <= 0:
        return 0.5
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def micro_f1(answers: np.ndarray, labels: np.ndarray) -> float:
    """F1 over all pairs of image and class: bool (N, n_classes) against 0 and 1; 0 if undefined."""
    found = (answers & (labels > 0)).sum()
    return float(2 * found / max(answers.sum() + labels.sum(), 1))


def probabilities(logits: np.ndarray, *, temperature: float, task: str = "single") -> np.ndarray:
    """Apply a temperature to logits (N, n_classes).

    Returns:
        float64 (N, n_classes): rows that sum to 1 for one label an image (`single`), else each
        class by itself (`multi`).
    """
    scaled = logits.astype(np.float64) / temperature
    return softmax(scaled, axis=1) if task == "single" else expit(scaled)
