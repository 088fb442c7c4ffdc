"""Adversarial attacks: change images within a perturbation bound, so that a model is wrong."""

import warnings
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from captum.robust import PGD
from torch import Tensor, nn

from classifold.models.inference import batch_size_of
from classifold.models.model_file import Model
from classifold.models.preprocessing import normalized
from classifold.stacking.ensemble import Ensemble
from classifold.stacking.module import EnsembleModule

# Of all steps together, in units of the perturbation bound (Madry et al. 2017, section B).
LENGTH = 2.5


class PixelModule(nn.Module):
    """Images float32 (N, 3, H, W) in [0, 1] -> logits (N, n_classes), with the preprocessing."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = model.network
        self.settings = {name: model.preprocessing[name] for name in ("image_size", "normalize")}

    def forward(self, images: Tensor) -> Tensor:
        """Preprocess as for a prediction, and run the network."""
        return self.network(normalized(255 * images, **self.settings))


class StackedModule(nn.Module):
    """The same for the stack: gradients pass through its weights and through all its members."""

    def __init__(self, ensemble: Ensemble, modules: Mapping[str, PixelModule]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules[name] for name in ensemble.members)
        self.ensemble = EnsembleModule(ensemble)

    def forward(self, images: Tensor) -> Tensor:
        """Run the members, and combine their logits."""
        return self.ensemble([member(images).float() for member in self.members])


def change_adversarially(
    module: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: int,
    n_steps: int,
    device: torch.device,
) -> np.ndarray:
    """Change images within a bound so that the loss of a model grows: by FGSM, or by PGD.

    PGD starts from the image itself, not from a random change, so that the result does not depend
    on the other images. Values are rounded to gray levels again, within the same bound.

    Args:
        module: on `device`, in evaluation mode: `PixelModule` or `StackedModule`.
        pixels: uint8 array (N, size, size, 3).
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        epsilon: perturbation bound (L-infinity norm), in gray levels of 255.
        n_steps: number of steps; one is FGSM.
        device: where to compute.

    Returns:
        uint8 array (N, size, size, 3), of values in [pixels - epsilon, pixels + epsilon].

    Source: Goodfellow et al. 2014, arXiv:1412.6572 (FGSM); Madry et al. 2017, arXiv:1706.06083.
    """
    pgd = PGD(module, _loss, lower_bound=0, upper_bound=1)
    pgd.fgsm.zero_thresh = 0  # captum takes gradients below 1e-6 for 0, those of confident models
    step_size = epsilon if n_steps == 1 else LENGTH * epsilon / n_steps
    batch_size = batch_size_of(pixels.shape[1], device)
    attacked = [np.empty((0, *pixels.shape[1:]), np.uint8)]
    for start in range(0, len(pixels), batch_size):
        rows = slice(start, start + batch_size)
        images = torch.from_numpy(pixels[rows] / np.float32(255)).to(device).permute(0, 3, 1, 2)
        with warnings.catch_warnings():  # captum's, that it makes the images require gradients
            warnings.simplefilter("ignore", UserWarning)
            changed = pgd.perturb(
                images,
                radius=epsilon / 255,
                step_size=step_size / 255,
                step_num=n_steps,
                target=torch.from_numpy(labels[rows]).to(device),
            )
        levels = torch.round(255 * changed.detach()).permute(0, 2, 3, 1).cpu().numpy()
        attacked.append(levels.astype(np.uint8))
    return np.concatenate(attacked)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute a loss per image, whose gradient has the signs of that of the training loss.

    With one label per image the cross-entropy is log(1 + exp(m)), where m compares the other
    classes with the label. Here it is m, since the gradient of the logarithm is rounded to 0 where
    a model is very confident.
    """
    if labels.ndim == 1:
        is_label = F.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(is_label, -torch.inf).logsumexp(1)
        return others - logits[is_label]
    losses = F.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return losses.sum(1)


def step_counts(n_steps: int) -> dict[str, int]:
    """Name the attacks, with the number of steps of each: FGSM is one step of the full size."""
    return {"fgsm": 1, "pgd": n_steps}
