"""Which pixels an answer hangs on."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam, NoiseTunnel, Saliency
from torch import Tensor, nn

from classifold.seeding import seed_torch


class Maps(NamedTuple):
    """Attribution of one image's answer, each scaled to [0, 1]: float (H, W)."""

    saliency: np.ndarray
    smoothed: np.ndarray
    grad_cam: np.ndarray | None  # None where the network has no convolution with a map


def explain_answer(
    network: nn.Module,
    inputs: Tensor,
    answer: int,
    *,
    smooth_samples: int,
    smooth_noise: float,
    seed: int,
) -> Maps:
    """Attribute one logit to pixels.

    Saliency is the largest absolute gradient over the channels (Simonyan et al. 2013,
    arXiv:1312.6034); smoothed, its mean over noisy copies (Smilkov et al. 2017,
    arXiv:1706.03825); Grad-CAM weights the last convolution's maps by their gradients
    (Selvaraju et al. 2016, arXiv:1610.02391).

    Args:
        network: in evaluation mode.
        inputs: float tensor (1, 3, H, W), preprocessed.
        answer: position of the logit.
        smooth_samples: number of noisy copies.
        smooth_noise: their standard deviation, as a share of the input's range.
        seed: of the noise.
    """
    seed_torch(seed, "saliency")
    inputs = inputs.detach().requires_grad_()
    gradient = Saliency(network)
    noise = smooth_noise * float(inputs.detach().max() - inputs.detach().min())
    smoothed = NoiseTunnel(gradient).attribute(
        inputs, target=answer, nt_type="smoothgrad", nt_samples=smooth_samples, stdevs=noise
    )
    return Maps(
        saliency=_to_map(gradient.attribute(inputs, target=answer)),
        smoothed=_to_map(smoothed),
        grad_cam=_grad_cam(network, inputs, answer),
    )


def last_convolution(network: nn.Module, inputs: Tensor) -> nn.Module | None:
    """Find the last convolution whose output is still a map of several places."""
    found: list[nn.Module] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        if output.shape[-1] > 1:
            found.append(module)

    hooks = [
        module.register_forward_hook(note)
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return found[-1] if found else None


def _grad_cam(network: nn.Module, inputs: Tensor, answer: int) -> np.ndarray | None:
    layer = last_convolution(network, inputs)
    if layer is None:
        return None
    cam = LayerGradCam(network, layer).attribute(inputs, target=answer, relu_attributions=True)
    return _to_map(F.interpolate(cam, inputs.shape[-2:], mode="bilinear"))


def _to_map(attribution: Tensor) -> np.ndarray:
    """Attribution (1, C, H, W) to (H, W) in [0, 1]."""
    strength = attribution.detach().abs().amax(dim=1)[0].float().cpu().numpy()
    return strength / max(float(strength.max()), 1e-12)
