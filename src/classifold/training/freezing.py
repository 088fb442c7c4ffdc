"""What of a network trains."""

from torch import nn


def set_trainable(network: nn.Module, trainable: str) -> None:
    """Let `all` parameters train, or those of the `head` alone."""
    for parameter in network.parameters():
        parameter.requires_grad = trainable == "all"
    for parameter in network.head.parameters():  # type: ignore[union-attr]
        parameter.requires_grad = True


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
