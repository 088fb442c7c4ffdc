"""What of a network trains."""

from collections.abc import Sequence

from torch import nn

from classifold.errors import UserError


def set_trainable(network: nn.Module, trainable: str | Sequence[str]) -> None:
    """Let `all` parameters train, those of the `head` alone, or those whose names begin so.

    Args:
        network: with a `head`.
        trainable: `all`, `head`, or the beginnings of parameters' names, such as `backbone.layer4`;
            `head` stands for the head among them too.

    Raises:
        UserError: if a beginning fits no parameter.
    """
    for parameter in network.parameters():
        parameter.requires_grad = trainable == "all"
    if trainable == "all":
        return
    for start in [trainable] if isinstance(trainable, str) else trainable:
        for parameter in parameters_under(network, start):
            parameter.requires_grad = True


def parameters_under(network: nn.Module, start: str) -> list[nn.Parameter]:
    """The parameters whose names begin with `start`, up to a dot; of the head for `head`.

    Raises:
        UserError: if there are none.
    """
    if start == "head":
        return list(network.head.parameters())  # type: ignore[union-attr]
    named = dict(network.named_parameters())
    chosen = [named[name] for name in named if f"{name}.".startswith(f"{start}.")]
    if not chosen:
        known = ", ".join(dict.fromkeys(["head", *(_room(name) for name in named)]))
        raise UserError(
            f"'{start}' (in a phase's trainable or lr_factors) begins the name of no parameter "
            f"of this network; its parameters begin with {known}"
        )
    return chosen


def _room(name: str) -> str:
    """`backbone.layer4` of `backbone.layer4.0.conv1.weight`."""
    first, *others = name.split(".")[:-1]
    return ".".join([first, *others[:1]]) if first == "backbone" else first


def train_mode(network: nn.Module) -> None:
    """Put a network into training mode, but leave frozen layers in evaluation mode.

    Else the running statistics of a frozen batch norm would move, and a frozen dropout drop.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def count_parameters(network: nn.Module, *, trainable: bool = False) -> int:
    """Count parameters, or only those that train."""
    return sum(
        parameter.numel()
        for parameter in network.parameters()
        if parameter.requires_grad or not trainable
    )
