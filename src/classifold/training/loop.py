"""The training loop: phases in turn, early stopping, the best epoch restored; it can go on."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from classifold.data.pack import Pack
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint
from classifold.training.epochs import Epochs, Recipe
from classifold.training.machine import Machine
from classifold.training.scores import METRIC, merit

SECONDS_BETWEEN_LINES = 10.0


class Fitted(NamedTuple):
    """What training tells, beside the weights it leaves in the network."""

    history: list[dict[str, Any]]  # one row an epoch
    phases: dict[str, dict[str, Any]]  # phase -> its numbers
    best_epoch: int  # of the last phase, counted from 1 over all phases
    processes: list[int]  # how many trained together, in each epoch


def fit(
    network: nn.Module,
    train: Pack,
    validation: Pack,
    *,
    recipe: Recipe,
    policy: Mapping[str, Any],
    machine: Machine,
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Fitted:
    """Train `network` in place, phase after phase in the order of their names.

    After each phase the weights of its best epoch are restored: the one with the best metric,
    of equals the one with the lowest validation loss. Validation in the history is computed at
    the precision of training. Training scores in the history are those of the moving weights on
    augmented images, as they were trained on.

    Args:
        network: on the machine's device, with a `head`.
        train: the training pack.
        validation: the validation pack.
        recipe: how to train.
        policy: of online augmentation, its steps and how borders are filled.
        machine: what computes.
        checkpoint: where the state is kept after every epoch, and looked for at the beginning.
        after_epoch: is given the history's row of every epoch; what it raises ends the training.

    Raises:
        UserError: if the loss explodes or is no number.
    """
    epochs = Epochs(train, recipe=recipe, policy=policy, machine=machine)
    history: list[dict[str, Any]] = []
    summaries: dict[str, dict[str, Any]] = {}
    processes: list[int] = []
    state = None
    if checkpoint:
        checkpoint.bring(machine)
        state = checkpoint.load()
    if state:
        history, summaries, processes = state["history"], state["phases"], state["processes"]
        network.load_state_dict(state["network"])
        log(f"  going on after epoch {len(history)}")

    for name in sorted(recipe.phases):
        if name in summaries:  # before it was stopped
            continue
        settings = recipe.phases[name]
        phase = epochs.begin(network, settings)
        n_before = sum(summary["n_epochs"] for summary in summaries.values())
        best: dict[str, Any] = {}
        if state and len(history) > n_before:
            best = state["best"]
            phase.load_state_dict(state["phase"])
        stop = settings.get("stop") or {}
        metric = stop.get("metric") or METRIC[train.task]
        lines = _EpochLines(name, settings["epochs"], metric=metric, n_images=epochs.n_images)

        while (n_done := len(history) - n_before) < settings["epochs"]:
            if best and len(history) - best["row"]["epoch"] >= stop.get("patience", math.inf):
                log(f"  no better epoch in {stop['patience']}: stopped early")
                break
            epoch = len(history) + 1
            learning_rate = phase.learning_rate
            trained = epochs.train(phase, epoch, name=name)
            validated = epochs.validate(phase.averaged, validation)
            reached = merit(validated, metric)
            phase.schedule.after_epoch(reached[0])
            history.append(
                {
                    "phase": name,
                    "epoch": epoch,
                    "learning_rate": round(learning_rate, 10),
                    **trained.told("train"),
                    **validated.told("validation"),
                }
            )
            processes.append(machine.n_processes)
            if not best or reached > best["merit"]:
                kept = copy.deepcopy(phase.averaged.state_dict())
                best = {"row": history[-1], "merit": reached, "network": kept}
            lines.tell(history[-1], best["row"], n_done=n_done + 1)
            if checkpoint:
                checkpoint.save_everywhere(
                    {
                        "history": history,
                        "processes": processes,
                        "phases": summaries,
                        "best": best,
                        "network": network.state_dict(),
                        "phase": phase.state_dict(),
                    },
                    machine,
                )
            if after_epoch:
                after_epoch(history[-1])

        network.load_state_dict(best["network"])
        summaries[name] = phase.summary(history[n_before:], best["row"])
    network.eval()
    return Fitted(history, summaries, best["row"]["epoch"], processes)


class _EpochLines:
    """Tells of epochs: of the first, the last, and one every few seconds between."""

    def __init__(self, phase: str, n_epochs: int, *, metric: str, n_images: int) -> None:
        self.phase, self.n_epochs, self.n_images = phase, n_epochs, n_images
        self.column = f"validation_{metric}"
        self.start = time.perf_counter()
        self.n_here = 0  # not counting those before it was stopped
        self.told = -math.inf

    def tell(self, row: Mapping[str, Any], best: Mapping[str, Any], *, n_done: int) -> None:
        self.n_here += 1
        now = time.perf_counter()
        if now - self.told < SECONDS_BETWEEN_LINES and n_done < self.n_epochs:
            return
        self.told = now
        seconds = (now - self.start) / self.n_here
        log(
            f"  {self.phase} epoch {n_done}/{self.n_epochs}: loss {row['train_loss']:.4f}, "
            f"{self.column.replace('_', ' ')} {row[self.column]:.4f} "
            f"(best {best[self.column]:.4f}), {self.n_images / seconds:,.0f} images/s, "
            f"at most {seconds * (self.n_epochs - n_done):.0f} s left"
        )
