"""Fit the members' weights in an average of probabilities, by log loss.

Both methods need only the probability that each member gives to the true class of each image: the
log loss of an average depends on the averaged probabilities of the true class alone.
"""

import numpy as np
from scipy.optimize import minimize

# The logarithm must be finite where a member gives the true class a probability of 0.
MIN_PROBABILITY = 1e-12


def fit_weights(truth: np.ndarray) -> np.ndarray:
    """Find the non-negative weights of sum 1 with the lowest log loss (a convex problem).

    Args:
        truth: float array (N, n_members): probabilities that members give to the true class.

    Returns:
        float64 array (n_members,).

    Source: Breiman 1996, "Stacked regressions" (non-negative weights).
    """
    truth = np.maximum(truth, MIN_PROBABILITY)
    n_members = truth.shape[1]
    result = minimize(
        lambda weights: -np.log(truth @ weights).mean(),
        np.full(n_members, 1 / n_members),
        jac=lambda weights: -(truth / (truth @ weights)[:, None]).mean(axis=0),
        method="SLSQP",
        bounds=[(0, 1)] * n_members,
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1,
            "jac": lambda _: np.ones(n_members),
        },
        options={"maxiter": 500, "ftol": 1e-10},
    )
    weights = np.clip(result.x, 0, None)
    return weights / weights.sum()


def select_greedily(truth: np.ndarray, *, rounds: int) -> np.ndarray:
    """Add in each round the member that lowers the log loss most; members may be added again.

    Args:
        truth: as of `fit_weights`.
        rounds: number of rounds; the members of the best round are kept.

    Returns:
        float64 array (n_members,): how often each was added, divided by the sum.

    Source: Caruana et al. 2004, "Ensemble selection from libraries of models" (with log loss).
    """
    truth = np.maximum(truth, MIN_PROBABILITY)
    counts = np.zeros(truth.shape[1])
    total = np.zeros(len(truth))
    best_loss, best_counts = np.inf, counts
    for n_added in range(1, rounds + 1):
        losses = -np.log((total[:, None] + truth) / n_added).mean(axis=0)
        added = int(losses.argmin())  # the first in case of a tie
        counts = counts + np.eye(len(counts))[added]
        total = total + truth[:, added]
        if losses[added] < best_loss:
            best_loss, best_counts = losses[added], counts
    return best_counts / best_counts.sum()
