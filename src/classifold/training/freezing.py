"""Freeze layers, and find parameters by their names."""

from collections.abc import Sequence

from torch import nn

from classifold.errors import UserError


def set_trainable(network: nn.Module, trainable: str | Sequence[str]) -> None:
    """Make `all` parameters trainable, only those of the `head`, or those with given names.

    Args:
        network: with a `head`.
        trainable: `all`, `head`, or prefixes of parameters' names, such as `backbone.layer4`;
            among them `head` is the head, too.

    Raises:
        UserError: if no parameter's name begins with a prefix.
    """
    for parameter in network.parameters():
        parameter.requires_grad = trainable == "all"
    if trainable == "all":
        return
    for prefix in [trainable] if isinstance(trainable, str) else trainable:
        for parameter in parameters_under(network, prefix):
            parameter.requires_grad = True


def parameters_under(network: nn.Module, prefix: str) -> list[nn.Parameter]:
    """Find the parameters whose names begin with `prefix` and a dot; for `head` the head's.

    Raises:
        UserError: if there are none.
    """
    if prefix == "head":
        return list(network.head.parameters())  # type: ignore[union-attr]
    named = dict(network.named_parameters())
    chosen = [named[name] for name in named if f"{name}.".startswith(f"{prefix}.")]
    if not chosen:
        known = ", ".join(dict.fromkeys(["head", *(_layer(name) for name in named)]))
        raise UserError(
            f"trainable or lr_factors: must name layers of the network, got '{prefix}'. "
            f"Choose from {known}."
        )
    return chosen


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
