"""Learning-rate schedules, per step or per epoch as is usual for each."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau


class Schedule:
    """A schedule that is updated after every step, and after every epoch with its score."""

    def __init__(
        self, *, by_step: LRScheduler | None = None, by_epoch: ReduceLROnPlateau | None = None
    ) -> None:
        self.by_step = by_step
        self.by_epoch = by_epoch

    def after_step(self) -> None:
        """Advance by one step."""
        if self.by_step is not None:
            self.by_step.step()

    def after_epoch(self, score: float) -> None:
        """Advance by one epoch with its validation score; a higher one is better."""
        if self.by_epoch is not None:
            self.by_epoch.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold: numbers, texts and lists."""
        schedule = self.by_step or self.by_epoch
        return schedule.state_dict() if schedule is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state that `state_dict` returned."""
        schedule = self.by_step or self.by_epoch
        if schedule is not None:
            schedule.load_state_dict(state)


def make_schedule(
    optimizer: Optimizer, *, name: str, n_epochs: int, steps_per_epoch: int, **settings: Any
) -> Schedule:
    """Make a schedule for `n_epochs` epochs.

    `constant` does not change the rate. `plateau` (factor, patience) lowers it when the score has
    not improved for `patience` epochs. `cyclical` (min_lr, step_size) moves in triangles between
    `min_lr` and the optimizer's rate, `step_size` steps up and `step_size` down (Smith 2015,
    arXiv:1506.01186). `cosine` (warmup_epochs) rises linearly, then falls to 0 as a cosine
    (Loshchilov & Hutter 2016, arXiv:1608.03983). `one_cycle` (pct_start, div_factor,
    final_div_factor, optionally base_momentum, max_momentum, anneal_strategy, three_phase) is
    torch's, with the optimizer's rate as its peak and momentum cycled inversely (Smith & Topin
    2017, arXiv:1708.07120).
    """
    n_steps = n_epochs * steps_per_epoch
    match name:
        case "constant":
            return Schedule()
        case "plateau":
            # An absolute threshold, as in Keras: a relative one has the wrong sign for losses,
            # whose scores are negative.
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
    position = step / step_size % 2  # 0 at the lowest rate, 1 at the highest
    return lowest + (1 - lowest) * min(position, 2 - position)


def _cosine(step: int, n_warmup: float, n_steps: int) -> float:
    """The factor on the learning rate before step `step`, counted from 0."""
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    progress = (step - n_warmup) / max(n_steps - n_warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
