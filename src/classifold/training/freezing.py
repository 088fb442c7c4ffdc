"""Freeze layers, and find parameters by their names."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from classifold.errors import SettingError


def set_trainable(
    network: nn.Module, trainable: str | Sequence[str], *, freeze_batch_norm: bool = False
) -> None:
    """Make `all` parameters trainable, only those of the `head`, or those with given names.

    Args:
        network: with a `head`.
        trainable: `all`, `head`, or prefixes of parameters' names, such as `backbone.layer4`;
            among them `head` is the head, too.
        freeze_batch_norm: whether batch norms keep their parameters and running statistics.

    Raises:
        SettingError: if no parameter's name begins with a prefix.
    """
    for parameter in network.parameters():
        parameter.requires_grad = trainable == "all"
    if trainable != "all":
        for prefix in [trainable] if isinstance(trainable, str) else trainable:
            for parameter in parameters_under(network, prefix):
                parameter.requires_grad = True
    if freeze_batch_norm:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.requires_grad_(False)  # `train_mode` leaves it in evaluation mode


def parameters_under(
    network: nn.Module, prefix: str, *, setting: str = "trainable"
) -> list[nn.Parameter]:
    """Find the parameters whose names begin with `prefix` and a dot; for `head` the head's.

    Args:
        network: with a `head`.
        prefix: such as `backbone.layer4`.
        setting: key in params that has the prefix, for the message.

    Raises:
        SettingError: if there are none.
    """
    if prefix == "head":
        return list(network.head.parameters())  # type: ignore[union-attr]
    named = dict(network.named_parameters())
    chosen = [named[name] for name in named if f"{name}.".startswith(f"{prefix}.")]
    if not chosen:
        known = ", ".join(dict.fromkeys(["head", *(_layer(name) for name in named)]))
        raise SettingError(
            f"{setting}: must name layers of the network, got '{prefix}'. Choose from {known}."
        )
    return chosen


def layers_in_order(network: nn.Module) -> list[list[nn.Parameter]]:
    """List the parameters of each layer, from the input to the head.

    A layer is a block of the network, such as `backbone.layer4.1`, or a convolution or dense layer
    outside of a block. Norms outside of blocks belong to the layer before them.
    """
    head = parameters_under(network, "head")
    of_head = set(head)
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter not in of_head:
            layers.setdefault(_block(network, name), []).append(parameter)
    joined: list[list[nn.Parameter]] = []
    for parameters in layers.values():
        if joined and all(parameter.ndim == 1 for parameter in parameters):
            joined[-1] += parameters
        else:
            joined.append(parameters)
    return [*joined, head]


def _block(network: nn.Module, name: str) -> str:
    """Name the outermost module of a parameter that is not only a container of modules."""
    module, path = network, []
    for part in name.split(".")[:-1]:
        path.append(part)
        module = getattr(module, part)
        if part != "backbone" and not isinstance(module, nn.Sequential | nn.ModuleList):
            break
    return ".".join(path)


def _layer(name: str) -> str:
    """Such as `backbone.layer4` for `backbone.layer4.0.conv1.weight`."""
    first, *others = name.split(".")[:-1]
    return ".".join([first, *others[:1]]) if first == "backbone" else first


def train_mode(network: nn.Module) -> None:
    """Set a network to training mode, and its frozen layers to evaluation mode.

    Otherwise the running statistics of a frozen batch norm would change, and a frozen dropout
    layer would drop units.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def count_parameters(network: nn.Module, *, trainable: bool = False) -> int:
    """Count parameters, or only the trainable ones."""
    return sum(
        parameter.numel()
        for parameter in network.parameters()
        if parameter.requires_grad or not trainable
    )
