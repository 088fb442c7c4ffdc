"""Optimizers by name."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def make_optimizer(
    parameters: Iterable[nn.Parameter], *, name: str, **settings: Any
) -> torch.optim.Optimizer:
    """Make torch's optimizer `name`; settings that are not given are torch's own."""
    return OPTIMIZERS[name](list(parameters), fused=True, **settings)  # type: ignore[call-arg]
