"""Compute on which pixels a prediction depends."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import Tensor, nn

from classifold.analysis.explain.convolutions import find_convolutions
from classifold.data.seeding import seed_torch
from classifold.models.inference import batch_size_of

MAX_BATCH_SIZE = 32  # images per pass through the network


class Maps(NamedTuple):
    """Attribution maps of one image, each scaled to [0, 1]: float (H, W)."""

    saliency: np.ndarray
    smoothed: np.ndarray
    integrated: np.ndarray
    grad_cam: np.ndarray | None  # None where the network has no such convolution
    occlusion: np.ndarray


def explain_class(
    network: nn.Module,
    inputs: Tensor,
    class_index: int,
    *,
    smooth_samples: int,
    smooth_noise: float,
    integrated_steps: int,
    occluded_fraction: float,
    seed: int,
) -> Maps:
    """Attribute one logit to pixels.

    Saliency is the largest absolute gradient over the channels (Simonyan et al. 2013,
    arXiv:1312.6034). Smoothed saliency is its mean over noisy variants of the image (Smilkov et
    al. 2017, arXiv:1706.03825). Integrated gradients are summed along the line from a gray image
    (Sundararajan et al. 2017, arXiv:1703.01365). Grad-CAM weights the last convolution's feature
    maps by their gradients (Selvaraju et al. 2016, arXiv:1610.02391). Occlusion is the decrease of
    the logit when a gray square covers a part of the image (Zeiler and Fergus 2013,
    arXiv:1311.2901). Gray is 0 after normalization.

    Args:
        network: in evaluation mode.
        inputs: float tensor (1, 3, H, W), preprocessed.
        class_index: index of the class whose logit is explained.
        smooth_samples: number of noisy variants.
        smooth_noise: their standard deviation, as a fraction of the input's range.
        integrated_steps: number of steps of the sum of gradients.
        occluded_fraction: side of the gray square, as a fraction of the image's.
        seed: seed of the noise.
    """
    seed_torch(seed, "saliency")
    batch_size = min(MAX_BATCH_SIZE, batch_size_of(inputs.shape[-1], inputs.device))
    inputs = inputs.detach().requires_grad_()
    gradient = Saliency(network)
    noise = smooth_noise * float(inputs.detach().max() - inputs.detach().min())
    smoothed = NoiseTunnel(gradient).attribute(
        inputs,
        target=class_index,
        nt_type="smoothgrad",
        nt_samples=smooth_samples,
        nt_samples_batch_size=min(batch_size, smooth_samples),
        stdevs=noise,
    )
    integrated = IntegratedGradients(network).attribute(
        inputs, target=class_index, n_steps=integrated_steps, internal_batch_size=batch_size
    )
    return Maps(
        saliency=_to_map(gradient.attribute(inputs, target=class_index)),
        smoothed=_to_map(smoothed),
        integrated=_to_map(integrated),
        grad_cam=grad_cam(network, inputs, class_index),
        occlusion=occlusion(
            network, inputs, class_index, fraction=occluded_fraction, batch_size=batch_size
        ),
    )


def grad_cam(network: nn.Module, inputs: Tensor, class_index: int) -> np.ndarray | None:
    """Compute the Grad-CAM map of `Maps`; see `explain_class` for the arguments."""
    convolutions = find_convolutions(network, inputs)
    if not convolutions:
        return None
    cam = LayerGradCam(network, convolutions[-1].layer).attribute(
        inputs, target=class_index, relu_attributions=True
    )
    return _to_map(F.interpolate(cam, inputs.shape[-2:], mode="bilinear"))


def occlusion(
    network: nn.Module, inputs: Tensor, class_index: int, *, fraction: float, batch_size: int
) -> np.ndarray:
    """Compute the occlusion map of `Maps`: cover squares, each shifted by half its side.

    Args:
        network: see `explain_class`, as for the next two.
        inputs: see there.
        class_index: see there.
        fraction: side of the square, as a fraction of the image's.
        batch_size: number of covered images per pass through the network.
    """
    side = max(1, round(fraction * inputs.shape[-1]))
    stride = max(1, side // 2)
    with torch.no_grad():
        decreases = Occlusion(network).attribute(
            inputs,
            target=class_index,
            sliding_window_shapes=(inputs.shape[1], side, side),
            strides=(inputs.shape[1], stride, stride),
            perturbations_per_eval=batch_size,
        )
    return _to_map(decreases.clamp(min=0))


def _to_map(attribution: Tensor) -> np.ndarray:
    """Attribution (1, C, H, W) to (H, W) in [0, 1]."""
    strength = attribution.detach().abs().amax(dim=1)[0].float().cpu().numpy()
    return strength / max(float(strength.max()), 1e-12)
