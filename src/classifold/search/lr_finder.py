"""The learning rate range test: a short training run with a learning rate that rises every step.

Source: Smith 2015, arXiv:1506.01186, section 3.3.
"""

from collections.abc import Iterator, Mapping
from itertools import count as count_from
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from torch import nn

from classifold.data.pack import Pack
from classifold.data.seeding import seed_torch
from classifold.errors import UserError, in_section
from classifold.models.feature_cache import FeatureCache
from classifold.runtime.progress import track
from classifold.training.batches import Batch
from classifold.training.config import TrainingConfig
from classifold.training.epochs import Epochs
from classifold.training.freezing import train_mode
from classifold.training.loop import fit
from classifold.training.machine import Machine

SMOOTHING = 0.04  # standard deviation of the smoothing kernel, as a fraction of all steps
DIVERGED = 4.0  # times the mean of the first losses: the test ends
GROWN = 1.2  # times the first smoothed loss: learning rates from here on are too high
MIN_DECREASE = 0.01  # fraction of the first smoothed loss: a smaller decrease is no learning
FIRST = 5  # number of first losses


class RangeTest(NamedTuple):
    """The loss at each learning rate; row i of each array is step i."""

    rates: np.ndarray  # learning rates, evenly spaced in the logarithm
    losses: np.ndarray  # mean loss of the step
    smoothed: np.ndarray  # the losses, smoothed over neighboring steps

    def suggestion(self) -> float:
        """Find the rate at which the smoothed loss decreases most steeply over the log rate.

        Raises:
            UserError: if the loss does not decrease, or by less than the noise of single steps.
        """
        grown = np.flatnonzero(self.smoothed > GROWN * self.smoothed[:1])
        usable = self.smoothed[: grown[0] if grown.size else None]
        noise = float(np.std(self.losses - self.smoothed))
        if len(usable) < 3 or usable[0] - usable.min() < max(MIN_DECREASE * usable[0], noise):
            raise UserError(
                "learning rate range test: the loss did not decrease by more than the noise of "
                f"single steps, in {len(self.losses)} steps. Use more --steps or a lower --lowest; "
                "the plot shows the losses."
            )
        slopes = np.gradient(usable[: int(usable.argmin()) + 1])
        return float(self.rates[int(slopes.argmin())])


def run_range_test(
    network: nn.Module,
    train: Pack,
    *,
    config: TrainingConfig,
    policy: Mapping[str, Any],
    machine: Machine,
    cache: FeatureCache | None = None,
    validation: Pack | None = None,
    phase: str | None = None,
    lowest: float,
    highest: float,
    n_steps: int,
) -> RangeTest:
    """Train as in a phase, with rising learning rates; this changes the weights.

    Args:
        network: on the machine's device.
        train: the training pack.
        config: how to train; the schedule of the phase is ignored.
        policy: policy of on-the-fly augmentation.
        machine: device, precision and processes of the training run.
        cache: files of the features of frozen bodies.
        validation: the validation pack, by which the phases before are trained.
        phase: name of the phase, by default the first.
        lowest: the first learning rate.
        highest: the last learning rate, unless the loss diverges earlier.
        n_steps: number of learning rates.
    """
    config = config.at_middle_size()._replace(ema_decay=None)  # no moving average of weights
    name = phase or min(config.phases)
    before = {other: config.phases[other] for other in config.phases if other < name}
    options: dict[str, Any] = {"policy": policy, "machine": machine, "cache": cache}
    if before and validation is not None:
        fit(network, train, validation, config=config._replace(phases=before), **options)
    epochs = Epochs(train, config=config, **options)
    settings = dict(config.phases[name])
    settings["schedule"] = {"name": "constant"}
    settings["optimizer"] = settings["optimizer"] | {"lr": 1.0}
    with in_section(f"phases.{name}"):
        begun = epochs.begin(network, settings)
    groups = begun.optimizer.param_groups
    factors = [group["lr"] for group in groups]
    rates = np.geomspace(lowest, highest, n_steps)
    losses: list[float] = []
    seed_torch(config.seed, "dropout", "rates")
    train_mode(network)
    steps = track(_steps(epochs), task="learning rates", total=n_steps, unit="steps")
    for rate, micro_batches in zip(rates, islice(steps, n_steps), strict=True):
        for group, factor in zip(groups, factors, strict=True):
            group["lr"] = rate * factor
        loss = 0.0
        for batch in micro_batches:
            contribution = (
                epochs.loss(begun.module(batch.inputs), batch.targets).sum() / batch.n_in_step
            )
            begun.backward(contribution, ends_step=batch.ends_step)
            loss += contribution.item()
        if not np.isfinite(loss):
            break
        losses.append(loss)
        if len(losses) > FIRST and loss > DIVERGED * np.mean(losses[:FIRST]):
            break
    if not losses:
        raise UserError(
            f"--lowest: the loss is NaN at this learning rate, got {lowest:g}. Lower it."
        )
    smoothed = gaussian_filter1d(losses, SMOOTHING * n_steps)
    return RangeTest(rates[: len(losses)], np.array(losses), smoothed)


def _steps(epochs: Epochs) -> Iterator[list[Batch]]:
    micro_batches: list[Batch] = []
    for epoch in count_from(1):
        for batch in epochs.batches(epoch):
            micro_batches.append(batch)
            if batch.ends_step:
                yield micro_batches
                micro_batches = []
