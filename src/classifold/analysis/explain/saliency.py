"""Which pixels an answer hangs on."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import Tensor, nn

from classifold.analysis.explain.layers import convolutions
from classifold.data.seeding import seed_torch

# Images that go through the network together.
AT_ONCE = 32


class Maps(NamedTuple):
    """Attribution of one image's answer, each scaled to [0, 1]: float (H, W)."""

    saliency: np.ndarray
    smoothed: np.ndarray
    integrated: np.ndarray
    grad_cam: np.ndarray | None  # None where the network has no convolution with a map
    occlusion: np.ndarray


def explain_answer(
    network: nn.Module,
    inputs: Tensor,
    answer: int,
    *,
    smooth_samples: int,
    smooth_noise: float,
    integrated_steps: int,
    occluded_fraction: float,
    seed: int,
) -> Maps:
    """Attribute one logit to pixels.

    Saliency is the largest absolute gradient over the channels (Simonyan et al. 2013,
    arXiv:1312.6034); smoothed, its mean over noisy copies (Smilkov et al. 2017,
    arXiv:1706.03825). Integrated gradients are summed up on the way from a gray image
    (Sundararajan et al. 2017, arXiv:1703.01365). Grad-CAM weights the last convolution's maps by
    their gradients (Selvaraju et al. 2016, arXiv:1610.02391). Occlusion is by how much the logit
    falls where a gray square covers the image (Zeiler and Fergus 2013, arXiv:1311.2901). Gray
    is 0 after normalization.

    Args:
        network: in evaluation mode.
        inputs: float tensor (1, 3, H, W), preprocessed.
        answer: position of the logit.
        smooth_samples: number of noisy copies.
        smooth_noise: their standard deviation, as a share of the input's range.
        integrated_steps: of the sum of gradients.
        occluded_fraction: side of the gray square, as a share of the image's.
        seed: of the noise.
    """
    seed_torch(seed, "saliency")
    inputs = inputs.detach().requires_grad_()
    gradient = Saliency(network)
    noise = smooth_noise * float(inputs.detach().max() - inputs.detach().min())
    smoothed = NoiseTunnel(gradient).attribute(
        inputs, target=answer, nt_type="smoothgrad", nt_samples=smooth_samples, stdevs=noise
    )
    integrated = IntegratedGradients(network).attribute(
        inputs, target=answer, n_steps=integrated_steps, internal_batch_size=AT_ONCE
    )
    return Maps(
        saliency=_to_map(gradient.attribute(inputs, target=answer)),
        smoothed=_to_map(smoothed),
        integrated=_to_map(integrated),
        grad_cam=_grad_cam(network, inputs, answer),
        occlusion=_occlusion(network, inputs, answer, share=occluded_fraction),
    )


def _grad_cam(network: nn.Module, inputs: Tensor, answer: int) -> np.ndarray | None:
    found = convolutions(network, inputs)
    if not found:
        return None
    cam = LayerGradCam(network, found[-1].layer).attribute(
        inputs, target=answer, relu_attributions=True
    )
    return _to_map(F.interpolate(cam, inputs.shape[-2:], mode="bilinear"))


def _occlusion(network: nn.Module, inputs: Tensor, answer: int, *, share: float) -> np.ndarray:
    """Cover square after square, each shifted by half of its side."""
    side = max(1, round(share * inputs.shape[-1]))
    stride = max(1, side // 2)
    with torch.no_grad():
        falls = Occlusion(network).attribute(
            inputs,
            target=answer,
            sliding_window_shapes=(inputs.shape[1], side, side),
            strides=(inputs.shape[1], stride, stride),
            perturbations_per_eval=AT_ONCE,
        )
    return _to_map(falls.clamp(min=0))


def _to_map(attribution: Tensor) -> np.ndarray:
    """Attribution (1, C, H, W) to (H, W) in [0, 1]."""
    strength = attribution.detach().abs().amax(dim=1)[0].float().cpu().numpy()
    return strength / max(float(strength.max()), 1e-12)
