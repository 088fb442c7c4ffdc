"""What generator and discriminator are trained to lower, from the discriminator's scores."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(Protocol):
    """The two sides of a game; scores are float (N,), high for what looks real."""

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Low where real images score high and generated ones low."""

    def of_generator(self, fake: Tensor) -> Tensor:
        """Low where generated images score high."""


class NonSaturating(NamedTuple):
    """Binary cross-entropy of scores as log-odds, each side's own.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 3.
    """

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """2 log 2 where it cannot tell them apart."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def of_generator(self, fake: Tensor) -> Tensor:
        """The log-odds of being taken for real, not of being found out, so that it can begin."""
        return F.softplus(-fake).mean()


class Hinge(NamedTuple):
    """Scores beyond 1, on the right side, count no more.

    Source: Lim and Ye 2017, arXiv:1705.02894.
    """

    def of_discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """2 where it cannot tell them apart."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def of_generator(self, fake: Tensor) -> Tensor:
        """Without a hinge: the generator is never good enough."""
        return -fake.mean()


LOSSES: dict[str, AdversarialLoss] = {"non_saturating": NonSaturating(), "hinge": Hinge()}


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Half the mean squared norm of the scores' gradient at real images.

    It keeps the discriminator from growing steep around the few images that it knows by heart.

    Args:
        scores: (N,), of the images.
        images: (N, 3, H, W), which require gradients.

    Source: Mescheder et al. 2018, arXiv:1801.04406, equation 9, which the lecture behind report
    000 takes.
    """
    (slopes,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return slopes.float().square().flatten(1).sum(1).mean() / 2
