"""Losses of generator and discriminator, from the discriminator's scores."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(Protocol):
    """A pair of losses; scores are float (N,), high for images that look real."""

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the discriminator's loss: low if real images score higher than generated ones."""

    def of_generator(self, fake: Tensor) -> Tensor:
        """Compute the generator's loss: low if generated images score high."""


class NonSaturating(NamedTuple):
    """Binary cross-entropy, with scores as logits.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the discriminator's loss; 2 log 2 if all scores are 0."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def of_generator(self, fake: Tensor) -> Tensor:
        """Compute the generator's loss, whose gradient does not vanish for low scores."""
        return F.softplus(-fake).mean()


class Hinge(NamedTuple):
    """Hinge loss: scores beyond 1 on the correct side have no gradient.

    Source: Lim and Ye 2017, arXiv:1705.02894.
    """

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Compute the discriminator's loss; 2 if all scores are 0."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def of_generator(self, fake: Tensor) -> Tensor:
        """Compute the generator's loss, which has no hinge."""
        return -fake.mean()


LOSSES: dict[str, AdversarialLoss] = {"non_saturating": NonSaturating(), "hinge": Hinge()}


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Compute half the mean squared norm of the scores' gradient at real images (R1).

    It keeps the discriminator from memorizing the training images.

    Args:
        scores: (N,) of the images.
        images: (N, 3, H, W), which require gradients.

    Source: Mescheder et al. 2018, arXiv:1801.04406, equation 9, which the lecture behind report
    000 uses.
    """
    (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradients.float().square().flatten(1).sum(1).mean() / 2
