"""How much each member counts in an average of probabilities, fitted by log loss.

Both ways take, for each image, only the probability that each member gave to the truth: the
log loss of an average is that of the averaged probabilities of the truth.
"""

import numpy as np
from scipy.optimize import minimize

# A member may be infallibly wrong; its logarithm must stay a number.
LEAST = 1e-12


def fit_weights(truth: np.ndarray) -> np.ndarray:
    """Find the shares, none negative, of sum 1, with the lowest log loss (a convex problem).

    Args:
        truth: float array (N, n_members): probabilities that members gave to what was the case.

    Returns:
        float64 array (n_members,).

    Source: Breiman 1996, "Stacked regressions" (non-negative weights).
    """
    truth = np.maximum(truth, LEAST)
    n_members = truth.shape[1]
    found = minimize(
        lambda shares: -np.log(truth @ shares).mean(),
        np.full(n_members, 1 / n_members),
        jac=lambda shares: -(truth / (truth @ shares)[:, None]).mean(axis=0),
        method="SLSQP",
        bounds=[(0, 1)] * n_members,
        constraints={
            "type": "eq",
            "fun": lambda shares: shares.sum() - 1,
            "jac": lambda _: np.ones(n_members),
        },
        options={"maxiter": 500, "ftol": 1e-10},
    )
    shares = np.clip(found.x, 0, None)
    return shares / shares.sum()


def select_greedily(truth: np.ndarray, *, rounds: int) -> np.ndarray:
    """Add, round after round, the member that helps most; members may be added again.

    Args:
        truth: as of `fit_weights`.
        rounds: how many members are added; the best number of them is kept.

    Returns:
        float64 array (n_members,): how often each was added, as shares.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models" (with log loss).
    """
    truth = np.maximum(truth, LEAST)
    counts = np.zeros(truth.shape[1])
    total = np.zeros(len(truth))
    best_loss, best_counts = np.inf, counts
    for n_added in range(1, rounds + 1):
        losses = -np.log((total[:, None] + truth) / n_added).mean(axis=0)
        added = int(losses.argmin())  # of equals the first
        counts = counts + np.eye(len(counts))[added]
        total = total + truth[:, added]
        if losses[added] < best_loss:
            best_loss, best_counts = losses[added], counts
    return best_counts / best_counts.sum()
