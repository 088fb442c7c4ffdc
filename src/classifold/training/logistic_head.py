"""Logistic regressions of scikit-learn on features, as a linear layer."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import nn

from classifold.runtime.progress import log
from classifold.training.frozen_body import ROWS

MAX_ITERATIONS = 1000

COLUMNS = 4096  # number of features that are multiplied at once

# Their inner products take 200 MB; the time of their eigenvectors grows with the third power.
MAX_IMAGES_OF_SPAN = 5000

SMALLEST_EIGENVALUE = 1e-10  # of inner products, relative to the largest one; others are rounding

# Logit of a class without training images, below those of all others.
LOWEST_LOGIT = -30.0


class LogisticRegressions:
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
        # In chunks: the scaler makes copies of what it gets.
        chunks = [slice(start, start + ROWS) for start in range(0, len(features), ROWS)]
        for rows in chunks:
            self.scaler.partial_fit(np.asarray(features[rows], np.float32))
        self.features: np.ndarray = np.empty(features.shape, np.float32)
        for rows in chunks:
            self.features[rows] = self.scaler.transform(np.array(features[rows], np.float32))
        n_images, n_features = features.shape
        has_span = n_images < n_features and n_images <= MAX_IMAGES_OF_SPAN
        self.span = _Span(self.features) if has_span else None
        self.regressors = self.span.coordinates if self.span else self.features
        self.labels, self.task = labels, task
        self.targets = [labels.argmax(1)] if task == "single" else list(labels.T.astype(np.int64))
        self.models = [
            LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True) for _ in self.targets
        ]

    def fit(self, c: float) -> nn.Linear:
        """Fit a linear layer on features that are not standardized.

        Args:
            c: inverse of the regularization strength.
        """
        n_classes, n_regressors = self.labels.shape[1], self.regressors.shape[1]
        weight, bias = np.zeros((n_classes, n_regressors)), self._constant()
        has_converged = True
        for number, (model, target) in enumerate(zip(self.models, self.targets, strict=True)):
            classes = np.unique(target)
            if len(classes) == 1:
                continue
            # The bits of sums depend on the number of threads, and several threads gain little.
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore", ConvergenceWarning)  # logged once for all labels
                model.set_params(C=c).fit(self.regressors, target)
            has_converged &= model.n_iter_.max() < MAX_ITERATIONS
            if self.task == "multi":
                weight[number], bias[number] = model.coef_[0], model.intercept_[0]
            elif len(classes) == 2:  # one logit, of the second class
                for row, factor in zip(classes, (-0.5, 0.5), strict=True):
                    weight[row], bias[row] = factor * model.coef_[0], factor * model.intercept_[0]
            else:
                weight[classes], bias[classes] = model.coef_, model.intercept_
        if not has_converged:
            log(f"  c {c:g}: not converged after {MAX_ITERATIONS:,} iterations; lower c")
        if self.span:
            weight = self.span.of_features(weight)
        weight /= self.scaler.scale_
        bias -= weight @ self.scaler.mean_
        layer = nn.Linear(weight.shape[1], n_classes)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    def _constant(self) -> np.ndarray:
        """The logits of classes that all or no training images have."""
        n_images, counts = len(self.labels), self.labels.sum(0).astype(np.float64)
        if self.task == "single":
            return np.where(counts > 0, 0.0, LOWEST_LOGIT)
        return np.log(counts + 0.5) - np.log(n_images - counts + 0.5)


class _Span:
    """The coordinates of images in the space that their features span.

    With more features than images they are fewer numbers. A linear model with a penalty on the
    length of its coefficients is the same: those outside of this space would be 0.
    """

    def __init__(self, features: np.ndarray) -> None:
        """Compute the coordinates, float32 (N, at most N).

        Args:
            features: float32 (N, n_features).
        """
        self.features = features
        inner_products = np.zeros((len(features), len(features)))
        with threadpool_limits(1):  # as above
            for start in range(0, features.shape[1], COLUMNS):
                columns = features[:, start : start + COLUMNS].astype(np.float64)
                inner_products += columns @ columns.T
            values, vectors = np.linalg.eigh(inner_products)
        kept = values > SMALLEST_EIGENVALUE * max(values[-1], 1.0)
        kept[-1] = True  # where all features are 0
        self._lengths = np.sqrt(np.maximum(values[kept], SMALLEST_EIGENVALUE))
        self._vectors = vectors[:, kept]
        self.coordinates: np.ndarray = (self._vectors * self._lengths).astype(np.float32)

    def of_features(self, coefficients: np.ndarray) -> np.ndarray:
        """Convert coefficients (n_classes, n_coordinates) to those of features."""
        with threadpool_limits(1):
            of_images = (coefficients / self._lengths) @ self._vectors.T
            return of_images.astype(np.float32) @ self.features
