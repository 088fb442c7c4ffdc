"""Fit a logistic regression over the members' logits."""

import numpy as np

Weights = dict[str, np.ndarray]


def fit_logistic(members: np.ndarray, labels: np.ndarray, *, c: float) -> Weights:
    """Fit scikit-learn's logistic regression on the logits of all members at once.

    With several labels per image each class has a regression of its own.

    Args:
        members: float array (N, n_members, n_classes), as `members.join` returns it.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        c: inverse strength of the penalty on coefficients.

    Returns:
        `coef` (n_classes, n_members * n_classes) and `bias` (n_classes,).
    """
    inputs = members.reshape(len(members), -1)
    if labels.ndim == 1:
        return _regress(inputs, labels, n_classes=members.shape[2], c=c)
    # Classes 0 and 1 are negative and positive; the log-odds are the difference of their scores.
    binary = [_regress(inputs, column.astype(int), n_classes=2, c=c) for column in labels.T]
    return {
        "coef": np.stack([one["coef"][1] - one["coef"][0] for one in binary]),
        "bias": np.stack([one["bias"][1] - one["bias"][0] for one in binary]),
    }


def apply_logistic(weights: Weights, members: np.ndarray) -> np.ndarray:
    """Members (N, n_members, n_classes) -> logits (N, n_classes)."""
    return members.reshape(len(members), -1) @ weights["coef"].T + weights["bias"]


def _regress(inputs: np.ndarray, labels: np.ndarray, *, n_classes: int, c: float) -> Weights:
    classes = np.unique(labels)
    coef = np.zeros((n_classes, inputs.shape[1]))
    # The classes without images to fit on get a probability of at most 1 / (N + 3) together, since
    # the highest of the other logits is at least 0. With a probability of 0, one image of such a
    # class would raise the temperature that is fitted afterwards to its upper limit.
    n_missing = max(n_classes - len(classes), 1)
    bias = np.full(n_classes, -np.log((len(labels) + 2) * n_missing))
    if len(classes) == 1:  # scikit-learn raises an error
        bias[classes] = 0
        return {"coef": coef, "bias": bias}
    # Slow to import, and not needed to apply a fitted stack.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    model = LogisticRegression(C=c, max_iter=2000).fit(inputs, labels)
    # For two classes scikit-learn stores only the coefficients of the second.
    rows = model.classes_ if len(classes) > 2 else model.classes_[1:]
    bias[model.classes_] = 0
    coef[rows], bias[rows] = model.coef_, model.intercept_
    return {"coef": coef, "bias": bias}
