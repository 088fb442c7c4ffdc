"""Fold batch norms into the convolutions before them, for faster inference."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Of the largest output, by rounding in fp32.
MAX_DIFFERENCE = 1e-4


def fold_batch_norms(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Copy a network with its batch norms folded into the convolutions before them.

    In evaluation mode a batch norm is a linear map per channel, which the weights of a
    convolution can include. Activations that are part of a norm stay.

    Args:
        network: on the device of `inputs`; it is set to evaluation mode, and not changed otherwise.
        inputs: float tensor (N, 3, H, W), on which both networks are compared in fp32.

    Returns:
        A network in evaluation mode with the same outputs, to rounding: the copy, or `network`
        itself if it has nothing to fold, or if the outputs of the copy differ.
    """
    network.eval()
    folded = copy.deepcopy(network)
    with torch.no_grad(), torch.autocast(inputs.device.type, enabled=False):
        pairs = _find_pairs(folded, inputs)
        if not pairs:
            return network
        names = {module: name for name, module in folded.named_modules()}
        for convolution, norm in pairs:
            fused = fuse_conv_bn_eval(convolution, norm).to(memory_format=torch.channels_last)
            rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
            for old, new in ((convolution, fused), (norm, nn.Sequential(*rest))):
                parent, _, name = names[old].rpartition(".")
                setattr(folded.get_submodule(parent), name, new)
        expected, found = network(inputs), folded(inputs)
    sound = (found - expected).abs().max() <= MAX_DIFFERENCE * expected.abs().max()
    return folded if sound else network


def _find_pairs(network: nn.Module, inputs: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Find the convolutions whose output is the input of a batch norm."""
    outputs: list[tuple[nn.Conv2d, Tensor, int]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after(module: nn.Module, _: object, output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            outputs.append((module, output, output._version))

    def before(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if not isinstance(module, nn.BatchNorm2d) or module.running_var is None:
            return
        # An activation in place changes the version.
        pairs.extend(
            (convolution, module)
            for convolution, output, version in outputs
            if output is arguments[0] and output._version == version
        )

    hooks = [module.register_forward_hook(after) for module in network.modules()]
    hooks += [module.register_forward_pre_hook(before) for module in network.modules()]
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    used = [module for module, *_ in outputs]
    norms = [norm for _, norm in pairs]
    return [
        (convolution, norm)
        for convolution, norm in pairs
        if used.count(convolution) == 1 and norms.count(norm) == 1
    ]
