"""An ensemble as a module of torch, for programs that know torch and not NumPy."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.stacking.ensemble import Ensemble, dense_layers
from classifold.stacking.members import Task


class EnsembleModule(nn.Module):
    """Members' logits, each (N, n_classes), in the ensemble's order -> logits (N, n_classes)."""

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.task = ensemble.task
        self.combine: nn.Module
        match ensemble.method:
            case "mean" | "weighted" | "greedy":
                shares = torch.from_numpy(ensemble.weights["member_weights"])
                self.combine = Average(shares, task=ensemble.task)
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
        return self.combine(F.log_softmax(members, dim=2) if self.task == "single" else members)


class Average(nn.Module):
    """Joined members (N, n_members, n_classes) -> average, as `members.average` has it."""

    log_shares: Tensor

    def __init__(self, shares: Tensor, *, task: Task) -> None:
        super().__init__()
        self.task = task
        # A share of 0 is a logarithm of -inf: that member adds nothing.
        self.register_buffer("log_shares", shares.log().float()[:, None])

    def forward(self, members: Tensor) -> Tensor:
        """Average probabilities, and return their logarithms or log-odds."""
        if self.task == "single":
            return torch.logsumexp(members + self.log_shares, dim=1)
        borne = torch.logsumexp(F.logsigmoid(members) + self.log_shares, dim=1)
        absent = torch.logsumexp(F.logsigmoid(-members) + self.log_shares, dim=1)
        return borne - absent


def _linear(coef: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(coef.shape[1], coef.shape[0])
    with torch.no_grad():
        layer.weight.copy_(coef)
        layer.bias.copy_(bias)
    return layer
