"""Learning-rate schedules, counting steps or epochs as the field does for each."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau


class Schedule:
    """A schedule that is told of every step and of every epoch's merit on validation."""

    def __init__(
        self, *, by_step: LRScheduler | None = None, by_epoch: ReduceLROnPlateau | None = None
    ) -> None:
        self.by_step = by_step
        self.by_epoch = by_epoch

    def after_step(self) -> None:
        """Move on by one step."""
        if self.by_step is not None:
            self.by_step.step()

    def after_epoch(self, merit: float) -> None:
        """Move on by one epoch, which was the better the higher `merit` is."""
        if self.by_epoch is not None:
            self.by_epoch.step(merit)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: numbers, texts and lists."""
        schedule = self.by_step or self.by_epoch
        return schedule.state_dict() if schedule is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was asked."""
        schedule = self.by_step or self.by_epoch
        if schedule is not None:
            schedule.load_state_dict(state)


def make_schedule(
    optimizer: Optimizer, *, name: str, n_epochs: int, steps_per_epoch: int, **settings: Any
) -> Schedule:
    """Make a schedule for `n_epochs` epochs.

    `constant` leaves the rate as it is. `plateau` (factor, patience) lowers it when what is
    watched has not got better for `patience` epochs. `cyclical` (min_lr, step_size) goes in
    triangles between `min_lr` and the optimizer's rate, `step_size` steps up and as many down
    (Smith 2015, arXiv:1506.01186). `cosine` (warmup_epochs) rises linearly, then falls to 0 as a
    cosine (Loshchilov & Hutter 2016, arXiv:1608.03983). `one_cycle` (pct_start, div_factor,
    final_div_factor, perhaps base_momentum and max_momentum, anneal_strategy, three_phase) is
    torch's, the optimizer's rate its peak; momentum goes the other way (Smith & Topin 2017,
    arXiv:1708.07120).
    """
    n_steps = n_epochs * steps_per_epoch
    match name:
        case "constant":
            return Schedule()
        case "plateau":
            # In numbers, as Keras: a share of a negative merit (a loss) would be the wrong way.
            return Schedule(
                by_epoch=ReduceLROnPlateau(
                    optimizer, mode="max", threshold=1e-4, threshold_mode="abs", **settings
                )
            )
        case "cyclical":
            highest = max(group["lr"] for group in optimizer.param_groups)
            lowest, step_size = settings["min_lr"] / highest, settings["step_size"]
            return _by_factor(optimizer, lambda step: _triangle(step, lowest, step_size))
        case "cosine":
            n_warmup = settings["warmup_epochs"] * steps_per_epoch
            return _by_factor(optimizer, lambda step: _cosine(step, n_warmup, n_steps))
        case "one_cycle":
            peaks = [group["lr"] for group in optimizer.param_groups]
            cycled = any(
                group.get("momentum") or "betas" in group for group in optimizer.param_groups
            )
            return Schedule(
                by_step=OneCycleLR(
                    optimizer,
                    max_lr=peaks,
                    total_steps=n_steps + 1,
                    cycle_momentum=cycled,
                    **settings,
                )
            )
    raise ValueError(f"unknown schedule {name!r}")


def _by_factor(optimizer: Optimizer, factor: Callable[[int], float]) -> Schedule:
    return Schedule(by_step=LambdaLR(optimizer, factor))


def _triangle(step: int, lowest: float, step_size: int) -> float:
    """The factor on the learning rate before step `step`, counted from 0."""
    place = step / step_size % 2  # 0 at the lowest rate, 1 at the highest
    return lowest + (1 - lowest) * min(place, 2 - place)


def _cosine(step: int, n_warmup: float, n_steps: int) -> float:
    """The factor on the learning rate before step `step`, counted from 0."""
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    share = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
