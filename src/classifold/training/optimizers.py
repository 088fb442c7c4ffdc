"""Optimizers by name, with learning rates and weight decay per layer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from classifold.training.freezing import layers_in_order, parameters_under

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}

# These update all parameters in one kernel; the others run one kernel per operation.
FUSED = ("adam", "adamw", "sgd")


def make_optimizer(
    network: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay_on_norm: bool = True,
    lr_factors: Mapping[str, float] | None = None,
    lr_decay_per_layer: float | None = None,
    **settings: Any,
) -> torch.optim.Optimizer:
    """Make torch's optimizer `name` for the trainable parameters of a network.

    Args:
        network: its parameters that require gradients are optimized.
        name: a key of `OPTIMIZERS`.
        lr: learning rate.
        weight_decay_on_norm: whether weight decay applies to norms and biases too.
        lr_factors: prefix of parameters' names (see `parameters_under`) -> factor on their
            rate; the longest matching prefix counts. The others keep `lr`.
        lr_decay_per_layer: factor on the rate of each layer relative to the next one, so that the
            head has `lr` and the first layer the lowest rate (Howard and Ruder 2018,
            arXiv:1801.06146).
        settings: torch's; those that are not given have torch's defaults.
    """
    factors = {
        parameter: factor
        for prefix, factor in sorted((lr_factors or {}).items(), key=lambda item: len(item[0]))
        for parameter in parameters_under(network, prefix, setting="optimizer.lr_factors")
    }
    if lr_decay_per_layer is not None:
        for depth, layer in enumerate(reversed(layers_in_order(network))):
            for parameter in layer:
                factors[parameter] = factors.get(parameter, 1.0) * lr_decay_per_layer**depth
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            decays = weight_decay_on_norm or parameter.ndim > 1
            groups.setdefault((factors.get(parameter, 1.0), decays), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": parameters, "lr": lr * factor} | ({} if decays else {"weight_decay": 0.0})
        for (factor, decays), parameters in groups.items()
    ]
    kind: dict[str, Any] = {"fused": True} if name in FUSED else {"foreach": True}
    return OPTIMIZERS[name](options, lr=lr, **kind, **settings)  # type: ignore[call-arg]


def match_memory_layout(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Give an optimizer's state that was read from a file the memory layout of its parameters.

    Files hold contiguous tensors. A fused step pairs the elements of parameter and moments by
    their place in memory, so they would be paired wrongly, without an error, where a parameter is
    channels_last.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    laid_out = {
        int(number): {
            name: torch.empty_like(parameters[int(number)]).copy_(value)
            if isinstance(value, Tensor) and value.shape == parameters[int(number)].shape
            else value
            for name, value in of_parameter.items()
        }
        for number, of_parameter in state["state"].items()
    }
    return {"state": laid_out, "param_groups": state["param_groups"]}
