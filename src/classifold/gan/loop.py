"""The training loop of a GAN, with sample grids and checkpoints."""

import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.pack import Pack
from classifold.data.seeding import generator as random_numbers
from classifold.errors import UserError
from classifold.gan.generator import Generator
from classifold.gan.sampling import generate, sample_noise
from classifold.gan.trainer import LOSS_COLUMNS, GanConfig, GanTrainer
from classifold.pictures.tiles import draw_tiles
from classifold.runtime.progress import format_speed, log, track
from classifold.training.batches import Batch, count_batches, epoch_batches
from classifold.training.checkpoints import Checkpoint
from classifold.training.images import TrainingImages
from classifold.training.machine import Machine

SECONDS_BETWEEN_LINES = 10.0

# Reading a loss synchronizes the device, so losses are checked once in this many steps.
STEPS_BETWEEN_CHECKS = 50


class Grid(NamedTuple):
    """Sample grids: one row per class, with the same noise in every epoch."""

    folder: Path
    rows: int  # the first classes; any images, if the generator is unconditional
    columns: int  # images per row


class FittedGan(NamedTuple):
    """The result of a training run."""

    generator: Generator  # the moving average, in evaluation mode
    history: list[dict[str, Any]]  # one row per epoch
    n_parameters: dict[str, int]  # counts of generator and discriminator


def fit_gan(
    train: Pack,
    *,
    config: GanConfig,
    policy: Mapping[str, Any],
    machine: Machine,
    checkpoint: Checkpoint | None = None,
    grid: Grid | None = None,
) -> FittedGan:
    """Train a generator and a discriminator on the images of a pack.

    Noise and classes of a step depend on seed, epoch and step alone: an interrupted training run
    resumes after the last epoch, and on a CPU results in the same weights.

    Args:
        train: the images.
        config: how to train.
        policy: policy of on-the-fly augmentation.
        machine: device, precision and processes of the training run.
        checkpoint: saved after every epoch, and loaded at the start if it exists.
        grid: where a sample grid is drawn before the first and after every epoch.

    Raises:
        UserError: if a loss is not finite, or if a conditional GAN gets images with several labels.
    """
    if config.conditional and train.task != "single":
        raise UserError(
            "train_gan.conditional: must be false for images with several labels (dataset.task: "
            "multi), got true. Set it to false."
        )
    if any("mix" in step for step in policy["steps"]):
        raise UserError(
            "train_gan.online: must be a policy without the step mix, got one with it. Choose "
            "another policy: the generator would learn to mix images."
        )
    trainer = GanTrainer(
        config, n_classes=len(train.classes), image_size=train.size, machine=machine
    )
    images = TrainingImages(train, policy=policy, image_size=train.size, device=machine.device)
    history: list[dict[str, Any]] = []
    state = checkpoint.load() if checkpoint else None
    if state:
        history = state["history"]
        trainer.load_state_dict(state["trainer"])
        log(f"  resuming after epoch {len(history)}")
    elif grid:
        shutil.rmtree(grid.folder, ignore_errors=True)  # images of an earlier training run
        _draw_grid(grid, trainer.generator, config, train, epoch=0)

    start, n_before, logged = time.perf_counter(), len(history), -math.inf
    while len(history) < config.epochs:
        epoch = len(history) + 1
        means = _train_epoch(trainer, images, config, epoch=epoch, machine=machine)
        row = dict(zip(LOSS_COLUMNS, np.round(means, 6).tolist(), strict=True))
        history.append({"epoch": epoch, **row})
        if grid:
            _draw_grid(grid, trainer.averaged, config, train, epoch=epoch)
        if checkpoint:
            checkpoint.save({"history": history, "trainer": trainer.state_dict()})
        now = time.perf_counter()
        if now - logged >= SECONDS_BETWEEN_LINES or epoch == config.epochs:
            logged = now
            seconds = (now - start) / (epoch - n_before)
            log(
                f"  epoch {epoch}/{config.epochs}: discriminator {row['discriminator_loss']:.3f}, "
                f"generator {row['generator_loss']:.3f}, "
                f"{format_speed(len(train.labels) / seconds)} images/s, "
                f"{seconds * (config.epochs - epoch):.0f} s left"
            )
    n_parameters = {
        name: sum(parameter.numel() for parameter in network.parameters())
        for name, network in (
            ("generator", trainer.generator),
            ("discriminator", trainer.discriminator),
        )
    }
    return FittedGan(trainer.averaged.eval(), history, n_parameters)


def grid_path(folder: Path, epoch: int) -> Path:
    """Name the sample grid of an epoch; 0 is before the first."""
    return folder / f"epoch_{epoch:04}.png"


def draw_grid(
    path: Path, generator: Generator, *, n_classes: int, rows: int, columns: int, seed: int
) -> None:
    """Draw a sample grid: one row per class, the same noise down a column.

    Args:
        path: the PNG file.
        generator: on its device.
        n_classes: number of classes of the images.
        rows: rows of the grid; at most one per class, if the generator is conditional.
        columns: columns of the grid.
        seed: seed of the noise.
    """
    is_conditional = generator.embedding is not None
    n_rows = min(rows, n_classes) if is_conditional else rows
    labels = np.repeat(np.arange(n_rows), columns)
    # The same noise down a column shows the effect of the class.
    noise = sample_noise(generator, columns if is_conditional else n_rows * columns, seed=seed)
    generated = generate(
        generator,
        np.tile(noise, (n_rows, 1)) if is_conditional else noise,
        labels if is_conditional else np.zeros_like(labels),
        device=next(generator.parameters()).device,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_tiles(
        path, [list(row) for row in generated.reshape(n_rows, columns, *generated.shape[1:]) / 255]
    )


def _draw_grid(
    grid: Grid,
    generator: Generator,
    config: GanConfig,
    train: Pack,
    *,
    epoch: int,
) -> None:
    draw_grid(
        grid_path(grid.folder, epoch),
        generator,
        n_classes=len(train.classes),
        rows=grid.rows,
        columns=grid.columns,
        seed=config.seed,
    )


def _train_epoch(
    trainer: GanTrainer,
    images: TrainingImages,
    config: GanConfig,
    *,
    epoch: int,
    machine: Machine,
) -> np.ndarray:
    """Train for one epoch; return the means of `LOSS_COLUMNS` over steps."""
    pack = images.pack
    n_steps = count_batches(len(pack.labels), config.batch_size)
    values = torch.zeros(n_steps, len(LOSS_COLUMNS), device=machine.device)
    trainer.train()
    batches = epoch_batches(
        images,
        batch_size=config.batch_size,
        seed=config.seed,
        epoch=epoch,
        image_size=pack.size,
        normalize="half",
    )
    for step, batch in enumerate(
        track(batches, task=f"epoch {epoch}", total=n_steps, unit="steps"), start=1
    ):
        noise, fake_labels = _sample_inputs(trainer, batch, config, pack, counters=(epoch, step))
        labels = batch.labels if config.conditional else fake_labels
        values[step - 1] = trainer.step(batch.inputs, labels, noise, fake_labels)
        if step % STEPS_BETWEEN_CHECKS == 0 or step == n_steps:
            _check_finite(values[:step], epoch=epoch, learning_rate=config.optimizer["lr"])
    return values.cpu().double().numpy().mean(0)


def _sample_inputs(
    trainer: GanTrainer,
    batch: Batch,
    config: GanConfig,
    pack: Pack,
    *,
    counters: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample noise and classes, with the class proportions of the pack, for one batch."""
    n_images = len(batch.labels)
    draws = random_numbers(config.seed, "wishes", *counters)
    noise = draws.standard_normal((n_images, trainer.generator.noise), dtype=np.float32)
    fake_labels = np.zeros(n_images, np.int64)
    if config.conditional:
        fake_labels = pack.labels[draws.integers(len(pack.labels), size=n_images)]
    device = batch.inputs.device
    return torch.from_numpy(noise).to(device), torch.from_numpy(fake_labels).to(device)


def _check_finite(values: torch.Tensor, *, epoch: int, learning_rate: float) -> None:
    """Raise an error if a loss is NaN or infinite."""
    finite = values.isfinite().all(1).cpu()
    if finite.all():
        return
    step = int(finite.logical_not().nonzero()[0]) + 1
    raise UserError(
        f"train_gan.optimizer.lr: a loss is NaN or infinite in epoch {epoch}, step {step}, "
        f"got a learning rate of {learning_rate:g}. Lower it, for example to a tenth, or lower "
        "train_gan.gradient_penalty."
    )
