"""Learning-rate schedules, counting steps or epochs as the field does for each."""

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau


class Schedule:
    """A schedule that is told of every step and of every epoch's validation accuracy."""

    def __init__(
        self, *, by_step: LRScheduler | None = None, by_epoch: ReduceLROnPlateau | None = None
    ) -> None:
        self.by_step = by_step
        self.by_epoch = by_epoch

    def after_step(self) -> None:
        """Move on by one step."""
        if self.by_step is not None:
            self.by_step.step()

    def after_epoch(self, validation_accuracy: float) -> None:
        """Move on by one epoch."""
        if self.by_epoch is not None:
            self.by_epoch.step(validation_accuracy)


def make_schedule(
    optimizer: Optimizer, *, name: str, n_epochs: int, steps_per_epoch: int, **settings: Any
) -> Schedule:
    """Make a schedule for `n_epochs` epochs.

    `constant` leaves the rate as it is. `plateau` (factor, patience) lowers it when validation
    accuracy has not risen for `patience` epochs. `cosine` (warmup_epochs) rises linearly, then
    falls to 0 as a cosine (Loshchilov & Hutter 2016, arXiv:1608.03983). `one_cycle` (pct_start,
    div_factor, final_div_factor) is torch's, the optimizer's rate its peak (Smith & Topin 2017,
    arXiv:1708.07120).
    """
    n_steps = n_epochs * steps_per_epoch
    match name:
        case "constant":
            return Schedule()
        case "plateau":
            return Schedule(by_epoch=ReduceLROnPlateau(optimizer, mode="max", **settings))
        case "cosine":
            n_warmup = settings["warmup_epochs"] * steps_per_epoch
            return Schedule(
                by_step=LambdaLR(optimizer, lambda step: _cosine(step, n_warmup, n_steps))
            )
        case "one_cycle":
            peak = optimizer.param_groups[0]["lr"]
            return Schedule(
                by_step=OneCycleLR(optimizer, max_lr=peak, total_steps=n_steps + 1, **settings)
            )
    raise ValueError(f"unknown schedule {name!r}")


def _cosine(step: int, n_warmup: float, n_steps: int) -> float:
    """The factor on the learning rate before step `step`, counted from 0."""
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    share = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
