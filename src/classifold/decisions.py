"""From logits to probabilities one can believe: a temperature, fitted on validation images.

Whoever measures or predicts applies a decision and never fits one.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the divisor of logits that minimizes log loss.

    As in Platt scaling, each label keeps a small doubt, 1 / (N + 2), shared by the other
    classes: else a network without a mistake on N images would be taken for infallible.

    Args:
        logits: float array (N, n_classes) of images the network was not trained on.
        labels: int array (N,).

    Returns:
        A number in [0.05, 20]; above 1 the network was too sure of itself.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2; Platt 1999, section 2.2.
    """
    n_images, n_classes = logits.shape
    doubt = 1 / (n_images + 2)
    targets = np.full((n_images, n_classes), doubt / (n_classes - 1))
    targets[np.arange(n_images), labels] = 1 - doubt
    logits = logits.astype(np.float64)

    def log_loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -(targets * scores).sum(axis=1).mean()

    return float(np.exp(minimize_scalar(log_loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def probabilities(logits: np.ndarray, *, temperature: float) -> np.ndarray:
    """Apply a temperature: logits (N, n_classes) to float64 rows that sum to 1."""
    return softmax(logits.astype(np.float64) / temperature, axis=1)
