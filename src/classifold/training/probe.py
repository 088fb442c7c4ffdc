"""Fit the head of a probe on features of a frozen body, by scikit-learn or nearest neighbors."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from classifold.data.pack import Pack
from classifold.errors import SettingError
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.runtime.progress import log
from classifold.training.config import HEAD, TrainingConfig
from classifold.training.freezing import count_parameters, set_trainable
from classifold.training.frozen_body import FrozenBody
from classifold.training.losses import one_hot
from classifold.training.machine import Machine
from classifold.training.scores import SELECTION_METRIC, rank, score_logits

MAX_ITERATIONS = 1000

# Logit of a class without training images, below those of all others.
LOWEST_LOGIT = -30.0


class FittedProbe(NamedTuple):
    """The result of a fit, beside the head, which is in the network."""

    history: list[dict[str, Any]]  # one row
    phases: dict[str, dict[str, Any]]
    body: FrozenBody


def fit_probe(
    network: nn.Module,
    train: Pack,
    validation: Pack | None,
    *,
    config: TrainingConfig,
    machine: Machine,
    cache: FeatureCache | None = None,
    title: str = "training",
) -> FittedProbe:
    """Fit the head of a probe in place; the candidate that is best on validation is kept.

    Args:
        network: network `probe`, on the machine's device.
        train: the training pack, with augmented variants.
        validation: the validation pack, on which `c` or the number of neighbors is chosen; None
            where there is one candidate.
        config: config with a `head`.
        machine: device, precision and processes of the training run.
        cache: files of features; without it they are kept in memory.
        title: the beginning of log lines.

    Raises:
        UserError: if there are fewer training images than neighbors.
    """
    set_trainable(network, "head")
    splits = {"train": train} | ({"validation": validation} if validation else {})
    settings: dict[str, Any] = {"image_size": config.image_size, "normalize": config.normalize}
    body = FrozenBody(network, cache, machine=machine, **settings)
    try:
        for pack in splits.values():
            body.features(pack.images)
    except NotCachedError as reason:
        log(f"  {title}: features are kept in memory and in no file, since {reason}")
        body = FrozenBody(network, None, machine=machine, **settings)
    key, candidates = config.candidates()
    features, labels = body.features(train.images), one_hot(train.labels, len(train.classes))
    make_head: Callable[[Any], nn.Module]
    if key == "c":
        make_head = _Logistic(features, labels, task=train.task).fit
    else:
        if max(candidates) > len(labels):
            raise SettingError(
                f"head.k: must be at most the number of training images, {len(labels):,}, got "
                f"{max(candidates)}. Lower it."
            )

        def make_head(k: int) -> nn.Module:
            examples = torch.from_numpy(np.array(features)), torch.from_numpy(labels)
            return network.neighbors_head(*examples, neighbors=k, task=train.task)  # type: ignore[operator]

    best: dict[str, Any] = {}
    tried = {}
    for candidate in candidates:
        network.head = make_head(candidate).to(machine.device)
        scores = {
            name: score_logits(body.logits(network, pack.images), pack.labels, loss=config.loss)
            for name, pack in splits.items()
        }
        described = ", ".join(score.describe(name) for name, score in scores.items())
        log(f"  {title}: {key} {candidate:g}, {described}")
        columns = {k: v for name, score in scores.items() for k, v in score.columns(name).items()}
        tried[f"{candidate:g}"] = columns
        chosen_on = scores["validation" if validation else "train"]
        reached = rank(chosen_on, SELECTION_METRIC[train.task])
        if not best or reached > best["rank"]:
            best = {
                "rank": reached,
                "head": network.head,
                "columns": columns,
                "candidate": candidate,
            }
    network.head = best["head"]
    network.eval()
    summary = {
        **{"n_epochs": 1, "first_epoch": 1, "last_epoch": 1, "best_epoch": 1},
        key: best["candidate"],
        **{k: v for k, v in best["columns"].items() if k.startswith("validation_")},
        "n_trainable_parameters": count_parameters(network, trainable=True),
        "tried": tried,
    }
    row = {"phase": HEAD, "epoch": 1, "learning_rate": 0.0, **best["columns"]}
    return FittedProbe([row], {HEAD: summary}, body)


class _Logistic:
    """Logistic regression on standardized features; one per class for several labels per image.

    Each fit begins with the coefficients of the one before.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, *, task: str) -> None:
        """Standardize the features.

        Args:
            features: float (N, n_features).
            labels: 0 and 1 in (N, n_classes).
            task: `single` or `multi`.
        """
        self.scaler = StandardScaler(copy=False)
        self.features = self.scaler.fit_transform(np.asarray(features, np.float32))
        self.labels = labels
        self.targets = [labels.argmax(1)] if task == "single" else list(labels.T.astype(np.int64))
        self.models = [
            LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True) for _ in self.targets
        ]

    def fit(self, c: float) -> nn.Linear:
        """Fit a linear layer on features that are not standardized.

        Args:
            c: inverse of the regularization strength.
        """
        n_classes, n_features = self.labels.shape[1], self.features.shape[1]
        weight, bias = np.zeros((n_classes, n_features)), self._constant()
        for number, (model, target) in enumerate(zip(self.models, self.targets, strict=True)):
            classes = np.unique(target)
            if len(classes) == 1:
                continue
            # The bits of sums depend on the number of threads, and several threads gain little.
            with warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
                warnings.simplefilter("always", ConvergenceWarning)
                model.set_params(C=c).fit(self.features, target)
            if caught:
                log(f"  c {c:g}: not converged after {model.n_iter_.max()} iterations; lower c")
            if len(self.targets) > 1:
                weight[number], bias[number] = model.coef_[0], model.intercept_[0]
            elif len(classes) == 2:  # one logit, of the second class
                for row, factor in zip(classes, (-0.5, 0.5), strict=True):
                    weight[row], bias[row] = factor * model.coef_[0], factor * model.intercept_[0]
            else:
                weight[classes], bias[classes] = model.coef_, model.intercept_
        weight /= self.scaler.scale_
        bias -= weight @ self.scaler.mean_
        layer = nn.Linear(n_features, n_classes)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    def _constant(self) -> np.ndarray:
        """The logits of classes that all or no training images have."""
        n_images, counts = len(self.labels), self.labels.sum(0).astype(np.float64)
        if len(self.targets) == 1:
            return np.where(counts > 0, 0.0, LOWEST_LOGIT)
        return np.log(counts + 0.5) - np.log(n_images - counts + 0.5)
