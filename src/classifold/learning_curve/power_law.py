"""Fit a power law to errors of classifiers that were trained on more and more images.

The law is error(n) = a + b * n ** -c with a and b of at least 0. For a given exponent c the best a
and b have a closed form, so the exponent is searched on a grid and no fit depends on a first guess.

Sources: Hestness et al. 2017, "Deep Learning Scaling is Predictable, Empirically",
arXiv:1712.00409; Viering and Loog 2023, "The Shape of Learning Curves: A Review",
arXiv:2103.10948, whose experiments favor this law among others.
"""

from typing import NamedTuple

import numpy as np

EXPONENTS = np.arange(0.02, 2.001, 0.02)
MIN_SIZES = 4  # the three parameters of a law fit any three errors


class PowerLaw(NamedTuple):
    """One law, or one for each element of arrays."""

    a: np.ndarray  # error of infinitely many images
    b: np.ndarray  # of n images, relative to those of the largest size
    c: np.ndarray  # exponent, one of `EXPONENTS`
    n_largest: float  # the largest number of images of the fit

    def error(self, n_images: np.ndarray | float) -> np.ndarray:
        """Compute the error for numbers of images, in a new last axis if they are an array."""
        ratio = np.asarray(n_images, float) / self.n_largest
        a, b, c = (values[..., None] if ratio.ndim else values for values in self[:3])
        return a + b * ratio**-c

    def gain(self, factor: float) -> np.ndarray:
        """Compute by how much the error falls with `factor` times as many images."""
        return self.error(self.n_largest) - self.error(factor * self.n_largest)


def fit_power_law(n_images: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """Fit laws by least squares of relative deviations, as all sizes matter equally then.

    Args:
        n_images: float array (K,), increasing.
        errors: float array (..., K), each at least 0: one curve or several.

    Returns:
        The laws, arrays of shape (...).
    """
    errors = np.asarray(errors, float)
    weights = 1 / np.maximum(errors, _floor(errors)) ** 2
    shape = errors.shape[:-1]
    best, law = np.full(shape, np.inf), np.zeros((3, *shape))
    for exponent in EXPONENTS:
        power = (n_images / n_images[-1]) ** -exponent
        a, b = _fit_line(power, errors, weights)
        loss = (weights * (a[..., None] + b[..., None] * power - errors) ** 2).sum(-1)
        better = loss < best * (1 - 1e-12)
        best = np.where(better, loss, best)
        law = np.where(better, np.stack([a, b, np.full(shape, exponent)]), law)
    return PowerLaw(law[0], law[1], law[2], float(n_images[-1]))


def _fit_line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares of y = a + b * x with a and b of at least 0, along the last axis."""
    total = weights.sum(-1)
    mean_x, mean_y = ((weights * values).sum(-1) / total for values in (x, y))
    centered = x - mean_x[..., None]
    b = (weights * centered * y).sum(-1) / (weights * centered**2).sum(-1)
    a = mean_y - b * mean_x
    through_zero = (weights * x * y).sum(-1) / (weights * x**2).sum(-1)
    a, b = np.where(a < 0, 0, a), np.where(a < 0, through_zero, b)
    return np.where(b < 0, mean_y, a), np.maximum(b, 0)


def _floor(errors: np.ndarray) -> np.ndarray:
    """The smallest error that deviations are relative to: a tenth of the mean error."""
    return np.maximum(errors.mean(-1, keepdims=True) / 10, 1e-6)
