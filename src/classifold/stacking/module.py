"""An ensemble as a module of torch, for export to other formats."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.data.metrics import Task
from classifold.stacking.ensemble import Ensemble, dense_layers


class EnsembleModule(nn.Module):
    """Members' logits, each (N, n_classes), in the ensemble's order -> logits (N, n_classes)."""

    temperatures: Tensor | None

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.task = ensemble.task
        fitted = ensemble.weights.get("temperatures")
        temperatures = None if fitted is None else torch.from_numpy(fitted).float()[:, None]
        self.register_buffer("temperatures", temperatures)
        self.combine: nn.Module
        match ensemble.method:
            case "mean" | "weighted" | "greedy":
                weights = torch.from_numpy(ensemble.weights["member_weights"])
                self.combine = Average(weights, task=ensemble.task)
            case "logistic":
                coef, bias = (torch.from_numpy(ensemble.weights[name]) for name in ("coef", "bias"))
                self.combine = nn.Sequential(nn.Flatten(), _linear(coef, bias))
            case "dense":
                self.combine = dense_layers(ensemble)
            case _:
                raise ValueError(f"unknown method {ensemble.method!r}")

    def forward(self, logits: list[Tensor]) -> Tensor:
        """Join the members as `members.join` does, and combine them."""
        members = torch.stack(logits, dim=1)  # (N, n_members, n_classes)
        if self.temperatures is not None:
            members = members / self.temperatures
        return self.combine(F.log_softmax(members, dim=2) if self.task == "single" else members)


class Average(nn.Module):
    """Joined members (N, n_members, n_classes) -> average, as `members.average` computes it."""

    log_weights: Tensor

    def __init__(self, weights: Tensor, *, task: Task) -> None:
        super().__init__()
        self.task = task
        # The logarithm of a weight of 0 is -inf: that member adds 0 to the sum.
        self.register_buffer("log_weights", weights.log().float()[:, None])

    def forward(self, members: Tensor) -> Tensor:
        """Average probabilities, and return log-probabilities or log-odds."""
        if self.task == "single":
            return torch.logsumexp(members + self.log_weights, dim=1)
        positive = torch.logsumexp(F.logsigmoid(members) + self.log_weights, dim=1)
        negative = torch.logsumexp(F.logsigmoid(-members) + self.log_weights, dim=1)
        return positive - negative


def _linear(coef: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(coef.shape[1], coef.shape[0])
    with torch.no_grad():
        layer.weight.copy_(coef)
        layer.bias.copy_(bias)
    return layer
