"""The training loop: phases in turn, early stopping, the best epoch restored."""

import copy
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn

from classifold.errors import UserError
from classifold.inference import predict_logits
from classifold.pack import Pack
from classifold.progress import say, track
from classifold.seeding import seed_torch
from classifold.training.batches import TrainingImages, count_batches, epoch_batches
from classifold.training.freezing import count_parameters, set_trainable, train_mode
from classifold.training.optimizers import make_optimizer
from classifold.training.schedules import make_schedule

FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}

HISTORY_COLUMNS = (
    "phase",
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
)

SECONDS_BETWEEN_LINES = 10.0


class Fitted(NamedTuple):
    """What training tells, beside the weights it leaves in the network."""

    history: list[dict[str, Any]]  # one row an epoch, HISTORY_COLUMNS
    phases: dict[str, dict[str, Any]]  # phase -> its numbers
    best_epoch: int  # of the last phase, counted from 1 over all phases


class Score(NamedTuple):
    """Loss and accuracy over one part."""

    loss: float  # mean cross-entropy
    accuracy: float


def fit(
    network: nn.Module,
    train: Pack,
    validation: Pack,
    *,
    phases: Mapping[str, Mapping[str, Any]],
    batch_size: int,
    seed: int,
    policy: Mapping[str, Any],
    image_size: int,
    normalize: str,
    device: torch.device,
    precision: str,
) -> Fitted:
    """Train `network` in place, phase after phase in the order of their names.

    After each phase the weights of its best epoch are restored: the one with the highest
    validation accuracy, of equals the lowest validation loss. Training accuracy in the
    history is that of the moving weights on augmented images, as they were trained on.

    Args:
        network: on `device`, with a `head`.
        train: the training pack.
        validation: the validation pack.
        phases: name -> epochs, trainable, optimizer, schedule and perhaps stop.
        batch_size: the most images a step.
        seed: of order, dropout and online augmentation.
        policy: of online augmentation, its steps and how borders are filled.
        image_size: of the network.
        normalize: of the network.
        device: where to compute.
        precision: fp32 or bf16 (autocast; weights stay fp32).

    Raises:
        UserError: if the loss is no longer a number, or memory is too small.
    """
    fabric = Fabric(accelerator=device.type, devices=1, precision=FABRIC_PRECISION[precision])  # type: ignore[arg-type]
    module = fabric.setup_module(network, move_to_device=True)
    inputs: dict[str, Any] = {"image_size": image_size, "normalize": normalize, "device": device}
    images = TrainingImages(train, policy=policy, image_size=image_size, device=device)
    n_steps = count_batches(len(train.labels), batch_size)
    history: list[dict[str, Any]] = []
    summaries: dict[str, dict[str, Any]] = {}
    best_row: dict[str, Any] = {}

    for name in sorted(phases):
        phase = phases[name]
        set_trainable(network, phase["trainable"])
        trained = (p for p in network.parameters() if p.requires_grad)
        optimizer: Any = fabric.setup_optimizers(make_optimizer(trained, **phase["optimizer"]))
        schedule = make_schedule(
            optimizer, n_epochs=phase["epochs"], steps_per_epoch=n_steps, **phase["schedule"]
        )
        patience = phase["stop"]["patience"] if phase.get("stop") else phase["epochs"]
        lines = _EpochLines(name, phase["epochs"], n_images=len(train.labels))
        best_row, best_state = {}, {}
        n_done = len(history)

        for epoch in range(n_done + 1, n_done + phase["epochs"] + 1):
            learning_rate = optimizer.param_groups[0]["lr"]
            seed_torch(seed, "dropout", epoch)
            train_mode(network)
            batches = epoch_batches(
                images,
                batch_size=batch_size,
                seed=seed,
                epoch=epoch,
                image_size=image_size,
                normalize=normalize,
            )
            # Sums stay on the device: fetching each loss would make it wait every step.
            totals = torch.zeros(2, device=device, dtype=torch.float64)
            for batch in track(batches, task=f"epoch {epoch}", total=n_steps, unit="steps"):
                optimizer.zero_grad()
                logits = module(batch.inputs)
                loss = F.cross_entropy(logits, batch.targets)
                fabric.backward(loss)
                optimizer.step()
                schedule.after_step()
                hits = (logits.detach().argmax(1) == batch.labels).sum()
                totals += torch.stack([loss.detach() * len(batch.labels), hits])
            train_loss, train_accuracy = (totals / len(train.labels)).tolist()
            if not math.isfinite(train_loss):
                raise UserError(
                    f"the loss is no longer a number in phase {name}, epoch {epoch} (learning "
                    f"rate {learning_rate:g}); lower phases.{name}.optimizer.lr, to a tenth say"
                )
            score = score_logits(
                predict_logits(network, validation.images, **inputs), validation.labels
            )
            schedule.after_epoch(score.accuracy)
            row = {
                "phase": name,
                "epoch": epoch,
                "learning_rate": round(learning_rate, 10),
                "train_loss": round(train_loss, 6),
                "train_accuracy": round(train_accuracy, 6),
                "validation_loss": round(score.loss, 6),
                "validation_accuracy": round(score.accuracy, 6),
            }
            history.append(row)
            if not best_row or _rank(row) > _rank(best_row):
                best_row, best_state = row, copy.deepcopy(network.state_dict())
            lines.tell(row, best_row)
            if epoch - best_row["epoch"] >= patience:
                say(f"  no better epoch in {patience}: stopped early")
                break

        network.load_state_dict(best_state)
        summaries[name] = {
            "n_epochs": len(history) - n_done,
            "best_epoch": best_row["epoch"],
            "validation_accuracy": best_row["validation_accuracy"],
            "validation_loss": best_row["validation_loss"],
            "n_trainable_parameters": count_parameters(network, trainable=True),
        }
    network.eval()
    return Fitted(history, summaries, best_row["epoch"])


def score_logits(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Measure mean cross-entropy and accuracy of logits (N, n_classes)."""
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    return Score(loss, float((logits.argmax(1) == labels).mean()))


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["validation_accuracy"], -row["validation_loss"]


class _EpochLines:
    """Tells of epochs: of the first, the last, and one every few seconds between."""

    def __init__(self, phase: str, n_epochs: int, *, n_images: int) -> None:
        self.phase, self.n_epochs, self.n_images = phase, n_epochs, n_images
        self.start = time.perf_counter()
        self.n_done = 0
        self.told = -math.inf

    def tell(self, row: Mapping[str, Any], best: Mapping[str, Any]) -> None:
        self.n_done += 1
        now = time.perf_counter()
        if now - self.told < SECONDS_BETWEEN_LINES and self.n_done < self.n_epochs:
            return
        self.told = now
        seconds = (now - self.start) / self.n_done
        say(
            f"  {self.phase} epoch {self.n_done}/{self.n_epochs}: "
            f"loss {row['train_loss']:.4f}, validation accuracy "
            f"{row['validation_accuracy']:.4f} (best {best['validation_accuracy']:.4f}), "
            f"{self.n_images / seconds:,.0f} images/s, "
            f"at most {seconds * (self.n_epochs - self.n_done):.0f} s left"
        )
