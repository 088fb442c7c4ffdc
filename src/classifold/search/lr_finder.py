"""Which learning rates learn: a short training whose rate rises from step to step.

Source: Smith 2015, arXiv:1506.01186, section 3.3 (the learning-rate range test).
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
from classifold.errors import UserError
from classifold.runtime.progress import track
from classifold.training.batches import Batch
from classifold.training.epochs import Epochs
from classifold.training.freezing import train_mode
from classifold.training.machine import Machine
from classifold.training.recipe import Recipe

SMOOTHING = 0.04  # standard deviation of the weights of neighbours, as a share of all steps
DIVERGED = 4.0  # times the first losses: the test is over
GROWN = 1.2  # times the smoothed loss at the start: rates from here on are too high
LEAST_FALL = 0.01  # of the smoothed loss at the start: less is no learning
FIRST = 5  # steps whose mean loss is the start


class RangeTest(NamedTuple):
    """What each rate did; row i of each array is step i."""

    rates: np.ndarray  # learning rates, rising evenly in their logarithm
    losses: np.ndarray  # mean loss of the step
    smoothed: np.ndarray  # the losses, each averaged with its neighbours, which rates are judged by

    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls most steeply over log rate.

        Raises:
            UserError: if the loss never falls, or by less than steps differ from one another.
        """
        grown = np.flatnonzero(self.smoothed > GROWN * self.smoothed[:1])
        sound = self.smoothed[: grown[0] if grown.size else None]
        noise = float(np.std(self.losses - self.smoothed))
        if len(sound) < 3 or sound[0] - sound.min() < max(LEAST_FALL * sound[0], noise):
            raise UserError(
                "no learning rate lowered the loss in so few steps, or by less than steps differ "
                "from one another; try more (--steps), or begin with a lower rate (--lowest), and "
                "look at the picture"
            )
        slopes = np.gradient(sound[: int(sound.argmin()) + 1])
        return float(self.rates[int(slopes.argmin())])


def try_rates(
    network: nn.Module,
    train: Pack,
    *,
    recipe: Recipe,
    policy: Mapping[str, Any],
    machine: Machine,
    lowest: float,
    highest: float,
    n_steps: int,
) -> RangeTest:
    """Train with rates from `lowest` to `highest`, as the first phase would; weights are spoilt.

    Args:
        network: on the machine's device.
        train: the training pack.
        recipe: how to train; the first phase's optimizer is taken, its schedule is not.
        policy: of online augmentation.
        machine: what computes.
        lowest: the first learning rate.
        highest: the last one, unless the loss has grown too far before.
        n_steps: how many rates are tried.
    """
    recipe = recipe._replace(ema_decay=None)  # the weights as they move
    epochs = Epochs(train, recipe=recipe, policy=policy, machine=machine)
    settings = dict(recipe.phases[min(recipe.phases)])
    settings["schedule"] = {"name": "constant"}
    settings["optimizer"] = settings["optimizer"] | {"lr": 1.0}
    phase = epochs.begin(network, settings)
    factors = [group["lr"] for group in phase.optimizer.param_groups]
    rates = np.geomspace(lowest, highest, n_steps)
    losses: list[float] = []
    seed_torch(recipe.seed, "dropout", "rates")
    train_mode(network)
    steps = track(_steps(epochs), task="try rates", total=n_steps, unit="steps")
    for rate, pieces in zip(rates, islice(steps, n_steps), strict=True):
        for group, factor in zip(phase.optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        loss = 0.0
        for batch in pieces:
            share = epochs.loss(phase.module(batch.inputs), batch.targets).sum() / batch.n_in_step
            phase.backward(share, ends_step=batch.ends_step)
            loss += share.item()
        if not np.isfinite(loss):
            break
        losses.append(loss)
        if len(losses) > FIRST and loss > DIVERGED * np.mean(losses[:FIRST]):
            break
    if not losses:
        raise UserError(f"the loss is no number at a learning rate of {lowest:g}; lower --lowest")
    smoothed = gaussian_filter1d(losses, SMOOTHING * n_steps)
    return RangeTest(rates[: len(losses)], np.array(losses), smoothed)


def _steps(epochs: Epochs) -> Iterator[list[Batch]]:
    pieces: list[Batch] = []
    for epoch in count_from(1):
        for batch in epochs.batches(epoch):
            pieces.append(batch)
            if batch.ends_step:
                yield pieces
                pieces = []
