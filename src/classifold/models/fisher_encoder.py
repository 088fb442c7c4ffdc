"""Fisher vectors: how the local descriptors of an image differ from those of other images."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ITERATIONS = 20  # of the fit of a mixture; more gain nothing
REGULARIZATION = 0.01  # of variances, in units of those of all descriptors
EPSILON = 1e-6


class Sums(NamedTuple):
    """Sums over descriptors of an image, for each component of the mixture."""

    zeroth: Tensor  # of probabilities, (N, n_components)
    first: Tensor  # of descriptors by probability, (N, n_components, n_dimensions)
    second: Tensor  # of squared descriptors by probability


class FisherEncoder(nn.Module):
    """The gradient of the log-likelihood of an image's descriptors under a mixture of Gaussians.

    Descriptors are reduced by PCA and whitened, and the position of their patch is appended. The
    gradient is that by means and standard deviations of the components, in units of its own
    standard deviation. Its numbers are replaced by their square roots with their sign, and it is
    scaled to length 1.

    Source: Perronnin, Sánchez and Mensink 2010, "Improving the Fisher kernel for large-scale image
    classification"; for positions Sánchez, Perronnin and de Campos 2012, "Modeling the spatial
    layout of images beyond spatial pyramids".
    """

    center: Tensor
    projection: Tensor
    means: Tensor
    variances: Tensor
    weights: Tensor

    def __init__(self, n_inputs: int, *, dimensions: int, components: int) -> None:
        """Make an encoder that is not fitted.

        Args:
            n_inputs: numbers per descriptor.
            dimensions: numbers per descriptor after PCA.
            components: number of Gaussians in the mixture.
        """
        super().__init__()
        shape = components, dimensions + 2
        self.register_buffer("center", torch.zeros(n_inputs))
        self.register_buffer("projection", torch.zeros(n_inputs, dimensions))
        self.register_buffer("means", torch.zeros(shape))
        self.register_buffer("variances", torch.ones(shape))
        self.register_buffer("weights", torch.full((components,), 1 / components))

    @property
    def n_features(self) -> int:
        """Numbers per image."""
        return 2 * self.means.numel()

    def fit(self, descriptors: np.ndarray, positions: np.ndarray, *, seed: int) -> None:
        """Fit PCA and the mixture.

        Args:
            descriptors: float32 (n, n_inputs), of training images; n is at least the number of
                components, and of dimensions.
            positions: float32 (n, 2), see `sums`.
            seed: of the first means.
        """
        # Not at the top: the import takes a second, and inference does without it.
        from sklearn.decomposition import PCA  # noqa: PLC0415
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
        from sklearn.mixture import GaussianMixture  # noqa: PLC0415
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        # The bits of sums depend on the number of threads.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the iterations are fixed
            pca = PCA(self.projection.shape[1], svd_solver="covariance_eigh").fit(descriptors)
            # Where all patches are alike, variances are 0.
            deviations = np.sqrt(pca.explained_variance_ + EPSILON)
            reduced = pca.transform(descriptors) / deviations
            mixture = GaussianMixture(
                len(self.means),
                covariance_type="diag",
                init_params="k-means++",
                max_iter=ITERATIONS,
                tol=0,
                reg_covar=REGULARIZATION,
                random_state=seed,
            ).fit(np.concatenate([reduced, positions], axis=1))
        fitted = {
            "center": pca.mean_,
            "projection": pca.components_.T / deviations,
            "means": mixture.means_,
            "variances": mixture.covariances_,
            "weights": mixture.weights_,
        }
        for name, values in fitted.items():
            getattr(self, name).copy_(torch.from_numpy(np.asarray(values, np.float32)))

    def sums(self, descriptors: Tensor, positions: Tensor) -> Sums:
        """Sum descriptors of each image.

        Args:
            descriptors: (N, n_patches, n_inputs).
            positions: (n_patches, 2), of patches in an image, with mean 0 and variance 1.
        """
        reduced = (descriptors - self.center) @ self.projection
        reduced = torch.cat([reduced, positions.expand(reduced.shape[0], -1, -1)], dim=2)
        squares, precisions = reduced.square(), 1 / self.variances
        constants = self.variances.log().sum(1) + (self.means.square() * precisions).sum(1)
        logits = reduced @ (self.means * precisions).T - squares @ (precisions.T / 2)
        logits = logits + self.weights.log() - constants / 2
        probabilities = logits.softmax(2)  # (N, n_patches, n_components)
        by_component = probabilities.transpose(1, 2)
        return Sums(probabilities.sum(1), by_component @ reduced, by_component @ squares)

    def forward(self, parts: Sequence[Sums]) -> Tensor:
        """Encode images.

        Args:
            parts: sums over parts of the descriptors.

        Returns:
            Fisher vectors (N, n_features).
        """
        zeroth, first, second = (torch.stack(sums).sum(0) for sums in zip(*parts, strict=True))
        n_descriptors = zeroth.sum(1).view(-1, 1, 1, 1)
        zeroth, roots = zeroth.unsqueeze(2), self.weights.sqrt().unsqueeze(1)
        by_mean = (first - zeroth * self.means) / (self.variances.sqrt() * roots)
        spread = second - 2 * first * self.means + zeroth * self.means.square()
        by_deviation = (spread / self.variances - zeroth) / (math.sqrt(2) * roots)
        vector = torch.stack([by_mean, by_deviation], dim=1) / n_descriptors
        rooted = vector / (vector.abs() + EPSILON).sqrt()  # whose gradient is finite at 0
        return F.normalize(rooted.flatten(1))
