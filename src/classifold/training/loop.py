"""The training loop: phases in turn, checkpoints, early stopping, the best epoch restored."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from classifold.data.pack import Pack
from classifold.errors import in_section
from classifold.models.feature_cache import FeatureCache
from classifold.runtime.progress import format_speed, log
from classifold.training.checkpoints import Checkpoint
from classifold.training.config import TrainingConfig
from classifold.training.epochs import Epochs
from classifold.training.frozen_body import FrozenBody
from classifold.training.machine import Machine
from classifold.training.phase import Phase
from classifold.training.scores import SELECTION_METRIC, Score, rank

SECONDS_BETWEEN_LINES = 10.0


class Fitted(NamedTuple):
    """The result of a training run, beside the weights, which are in the network."""

    history: list[dict[str, Any]]  # one row per epoch
    phases: dict[str, dict[str, Any]]  # phase -> its metrics
    best_epoch: int  # best epoch of the last phase, counted from 1 over all phases
    processes: list[int]  # number of processes that trained together, for each epoch
    body: FrozenBody | None = None  # if the features of the last phase were computed once


def fit(
    network: nn.Module,
    train: Pack,
    validation: Pack,
    *,
    config: TrainingConfig,
    policy: Mapping[str, Any],
    machine: Machine,
    cache: FeatureCache | None = None,
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[Mapping[str, Any]], None] | None = None,
    title: str = "training",
) -> Fitted:
    """Train `network` in place, phase after phase in the order of their names.

    A probe has no phases: its head is fitted, see `fit_probe`.

    After each phase the weights of its best epoch are restored: the one with the best metric,
    of equals the one with the lowest validation loss. Validation in the history is computed at
    the precision of training. Training scores in the history are those of the moving weights on
    augmented images, as they were trained on.

    Args:
        network: on the machine's device, with a `head`.
        train: the training pack.
        validation: the validation pack.
        config: how to train.
        policy: policy of online augmentation, its steps and how borders are filled.
        machine: device, precision and processes of the training run.
        cache: files of the features of frozen bodies.
        checkpoint: file to which the state is saved after every epoch, and from which an
            interrupted training run continues.
        after_epoch: called with the history's row of every epoch; what it raises ends the
            training run.
        title: the beginning of log lines, such as the name of the model.

    Raises:
        UserError: if the loss explodes or is NaN.
    """
    if config.head:
        if policy["steps"]:
            raise ValueError("a probe's images are not augmented on the fly")
        # Not at the top: the import of scikit-learn takes a second.
        from classifold.training.probe import fit_probe  # noqa: PLC0415

        fitted = fit_probe(
            network, train, validation, config=config, machine=machine, cache=cache, title=title
        )
        if after_epoch:
            after_epoch(fitted.history[0])
        return Fitted(fitted.history, fitted.phases, 1, [machine.n_processes], fitted.body)
    epochs = Epochs(train, config=config, policy=policy, machine=machine, cache=cache)
    return _Loop(network, epochs, validation=validation).run(checkpoint, after_epoch, title=title)


def refit(
    network: nn.Module,
    images: Pack,
    *,
    config: TrainingConfig,
    policy: Mapping[str, Any],
    machine: Machine,
    recorded: Sequence[Mapping[str, Any]],
    cache: FeatureCache | None = None,
    checkpoint: Checkpoint | None = None,
    title: str = "training",
) -> list[dict[str, Any]]:
    """Repeat a training run on more images, without validation.

    Each phase runs the epochs up to the one that was kept. Schedules that depend on validation get
    the recorded scores, so plateaus lower the learning rate after the same epochs as before;
    schedules that count steps count those of longer epochs. The last epoch of each phase is kept.

    Args:
        network: on the machine's device, with its initial weights.
        images: the training and the validation images.
        config: how to train.
        policy: policy of online augmentation.
        machine: device, precision and processes of the training run.
        recorded: rows of the earlier training run's history: of each phase those up to the epoch
            that was kept.
        cache: see `fit`.
        checkpoint: see `fit`.
        title: see `fit`.

    Returns:
        One row per epoch: phase, epoch, learning rate, scores on the images as they were trained
        on.
    """
    if config.head:
        from classifold.training.probe import fit_probe  # noqa: PLC0415 - as above

        return fit_probe(
            network, images, None, config=config, machine=machine, cache=cache, title=title
        ).history
    epochs = Epochs(images, config=config, policy=policy, machine=machine, cache=cache)
    return _Loop(network, epochs, recorded=recorded).run(checkpoint, title=title).history


class _Loop:
    """Trains phase after phase; epochs are scored by validation, or by the rows of a history."""

    def __init__(
        self,
        network: nn.Module,
        epochs: Epochs,
        *,
        validation: Pack | None = None,
        recorded: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.network, self.epochs, self.config = network, epochs, epochs.config
        self.validation, self.recorded = validation, recorded
        self.history: list[dict[str, Any]] = []
        self.summaries: dict[str, dict[str, Any]] = {}
        self.processes: list[int] = []
        self.best: dict[str, Any] = {}  # best epoch of the current phase: row, rank, network

    def run(
        self,
        checkpoint: Checkpoint | None,
        after_epoch: Callable[[Mapping[str, Any]], None] | None = None,
        *,
        title: str,
    ) -> Fitted:
        machine = self.epochs.machine
        state = None
        if checkpoint:
            checkpoint.synchronize(machine)
            state = checkpoint.load()
        if state:
            self.history, self.summaries = state["history"], state["phases"]
            self.processes = state["processes"]
            self.network.load_state_dict(state["network"])
            log(f"  {title}: continues after epoch {len(self.history)}")

        for name in sorted(self.config.phases):
            if name in self.summaries:  # before the interruption
                continue
            settings = self.config.phases[name]
            phase_title = title if len(self.config.phases) == 1 else f"{title}, {name}"
            with in_section(f"phases.{name}"):
                phase = self.epochs.begin(
                    self.network, settings, title=phase_title, validation=self.validation
                )
            n_before = sum(summary["n_epochs"] for summary in self.summaries.values())
            self.best = {}
            if state and len(self.history) > n_before:
                self.best = state["best"]
                phase.load_state_dict(state["phase"])
            stop = settings.get("stop") or {}
            metric = stop.get("metric") or SELECTION_METRIC[self.epochs.task]
            numbers = self._epoch_numbers(name)
            lines = _EpochLines(
                phase_title,
                len(numbers),
                metric=metric,
                n_images=self.epochs.n_images,
            )

            for epoch in numbers[len(self.history) - n_before :]:
                patience = stop.get("patience", math.inf)
                if self.best and epoch - 1 - self.best["row"]["epoch"] >= patience:
                    log(
                        f"  {phase_title}: stopped early, because validation "
                        f"{metric.replace('_', ' ')} has not improved for {patience} epochs"
                    )
                    break
                self._run_epoch(phase, epoch, name=name, metric=metric)
                lines.log(self.history[-1], self.best["row"], n_done=len(self.history) - n_before)
                if checkpoint:
                    checkpoint.save_everywhere(
                        {
                            "history": self.history,
                            "processes": self.processes,
                            "phases": self.summaries,
                            "best": self.best,
                            "network": self.network.state_dict(),
                            "phase": phase.state_dict(),
                        },
                        machine,
                    )
                if after_epoch:
                    after_epoch(self.history[-1])

            self.network.load_state_dict(self.best["network"])
            self.summaries[name] = phase.summary(self.history[n_before:], self.best["row"])
        self.network.eval()
        best_epoch = self.best["row"]["epoch"]
        return Fitted(self.history, self.summaries, best_epoch, self.processes, phase.body)

    def _epoch_numbers(self, name: str) -> Sequence[int]:
        """The numbers of a phase's epochs, by which images are shuffled and augmented."""
        if self.validation is None:
            return [int(row["epoch"]) for row in self.recorded if row["phase"] == name]
        first = 1 + sum(summary["n_epochs"] for summary in self.summaries.values())
        return range(first, first + self.config.phases[name]["epochs"])

    def _run_epoch(self, phase: Phase, epoch: int, *, name: str, metric: str) -> None:
        learning_rate = phase.learning_rate
        trained = self.epochs.train(phase, epoch, name=name)
        row = {
            "phase": name,
            "epoch": epoch,
            "learning_rate": round(learning_rate, 10),
            **trained.columns("train"),
        }
        if self.validation is None:
            (recorded,) = (row for row in self.recorded if int(row["epoch"]) == epoch)
            validated = Score.from_columns(recorded, "validation")
        else:
            validated = self.epochs.validate(phase, self.validation)
            row |= validated.columns("validation")
        reached = rank(validated, metric)
        phase.schedule.after_epoch(reached[0])
        self.history.append(row)
        self.processes.append(self.epochs.machine.n_processes)
        # Without validation the last epoch is kept: recorded rows end with the one kept then.
        if self.validation is None or not self.best or reached > self.best["rank"]:
            kept = copy.deepcopy(phase.averaged.state_dict())
            self.best = {"row": row, "rank": reached, "network": kept}


class _EpochLines:
    """Logs epochs: the first, the last, and one every few seconds between."""

    def __init__(self, title: str, n_epochs: int, *, metric: str, n_images: int) -> None:
        self.title, self.n_epochs, self.n_images = title, n_epochs, n_images
        self.column = f"validation_{metric}"
        self.start = time.perf_counter()
        self.n_here = 0  # not counting those before an interruption
        self.last_logged = -math.inf

    def log(self, row: Mapping[str, Any], best: Mapping[str, Any], *, n_done: int) -> None:
        self.n_here += 1
        now = time.perf_counter()
        if now - self.last_logged < SECONDS_BETWEEN_LINES and n_done < self.n_epochs:
            return
        self.last_logged = now
        seconds = (now - self.start) / self.n_here
        validation = (
            f"{self.column.replace('_', ' ')} {row[self.column]:.4f} "
            f"(best {best[self.column]:.4f}), "
            if self.column in row
            else ""
        )
        log(
            f"  {self.title}: epoch {n_done}/{self.n_epochs}, loss {row['train_loss']:.4f}, "
            f"{validation}{format_speed(self.n_images / seconds)} images/s, "
            f"{seconds * (self.n_epochs - n_done):.0f} s left"
        )
