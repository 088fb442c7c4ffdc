"""Logistic regression over the members' answers."""

import numpy as np

Weights = dict[str, np.ndarray]

# A class without a fitting image stays impossible.
NEVER = -1e9


def fit_logistic(members: np.ndarray, labels: np.ndarray, *, c: float) -> Weights:
    """Fit scikit-learn's regression on all members' answers at once.

    With several labels an image, each class has a regression of its own.

    Args:
        members: float array (N, n_members, n_classes), what `members.join` gives.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        c: inverse strength of the penalty on coefficients.

    Returns:
        `coef` (n_classes, n_members * n_classes) and `bias` (n_classes,).
    """
    inputs = members.reshape(len(members), -1)
    if labels.ndim == 1:
        return _regress(inputs, labels, n_classes=members.shape[2], c=c)
    # Of the classes "not borne" and "borne" the score is that of the second over the first.
    ones = [_regress(inputs, borne.astype(int), n_classes=2, c=c) for borne in labels.T]
    return {
        "coef": np.stack([one["coef"][1] - one["coef"][0] for one in ones]),
        "bias": np.stack([one["bias"][1] - one["bias"][0] for one in ones]),
    }


def apply_logistic(weights: Weights, members: np.ndarray) -> np.ndarray:
    """Members (N, n_members, n_classes) -> logits (N, n_classes)."""
    return members.reshape(len(members), -1) @ weights["coef"].T + weights["bias"]


def _regress(inputs: np.ndarray, labels: np.ndarray, *, n_classes: int, c: float) -> Weights:
    coef, bias = np.zeros((n_classes, inputs.shape[1])), np.full(n_classes, NEVER)
    classes = np.unique(labels)
    if len(classes) == 1:  # which scikit-learn refuses
        bias[classes] = 0
        return {"coef": coef, "bias": bias}
    # Slow to import, and of no use to who asks a stack that was fitted.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    model = LogisticRegression(C=c, max_iter=2000).fit(inputs, labels)
    # Of two classes scikit-learn keeps one score, that of the second.
    rows = model.classes_ if len(classes) > 2 else model.classes_[1:]
    bias[model.classes_] = 0
    coef[rows], bias[rows] = model.coef_, model.intercept_
    return {"coef": coef, "bias": bias}
