"""The training loop of a GAN: epochs, sample grids, a checkpoint after each; it can go on."""

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
from classifold.gan.adversaries import TOLD, Adversaries, GanRecipe
from classifold.gan.drawing import draw_noise, generate
from classifold.gan.generator import Generator
from classifold.pictures.tiles import draw_tiles
from classifold.runtime.progress import log, track
from classifold.training.batches import Batch, TrainingImages, count_batches, epoch_batches
from classifold.training.checkpoints import Checkpoint
from classifold.training.machine import Machine

SECONDS_BETWEEN_LINES = 10.0

# Fetching a loss makes the device wait: it is looked at once in so many steps.
STEPS_BETWEEN_LOOKS = 50


class Grid(NamedTuple):
    """The pictures that show how far a generator is: a row a class, the same noise always."""

    folder: Path
    rows: int  # the first classes; of a generator that is not asked, as many rows
    columns: int  # images of each


class FittedGan(NamedTuple):
    """What a training leaves."""

    generator: Generator  # the moving average, in evaluation mode
    history: list[dict[str, Any]]  # one row an epoch
    n_parameters: dict[str, int]  # of generator and discriminator


def fit_gan(
    train: Pack,
    *,
    recipe: GanRecipe,
    policy: Mapping[str, Any],
    machine: Machine,
    checkpoint: Checkpoint | None = None,
    grid: Grid | None = None,
) -> FittedGan:
    """Train a generator and a discriminator on the images of a pack.

    Noise and classes of a step are drawn by seed, epoch and step: who is stopped goes on after
    the last epoch, and on a CPU ends with the same weights.

    Args:
        train: the images.
        recipe: how to train.
        policy: of online augmentation, its steps and how borders are filled.
        machine: what computes.
        checkpoint: where the state is kept after every epoch, and looked for at the beginning.
        grid: where a picture is drawn before the first and after every epoch.

    Raises:
        UserError: if a loss is no number, or if classes are asked for where images bear several.
    """
    if recipe.conditional and train.task != "single":
        raise UserError(
            "train_gan.conditional must be false for images that bear several labels "
            "(dataset.task: multi): a generator is asked for one class"
        )
    if any("mix" in step for step in policy["steps"]):
        raise UserError(
            "train_gan.online must name a policy without the step mix: a generator would learn "
            "to mix images, too"
        )
    adversaries = Adversaries(
        recipe, n_classes=len(train.classes), image_size=train.size, machine=machine
    )
    images = TrainingImages(train, policy=policy, image_size=train.size, device=machine.device)
    history: list[dict[str, Any]] = []
    state = checkpoint.load() if checkpoint else None
    if state:
        history = state["history"]
        adversaries.load_state_dict(state["adversaries"])
        log(f"  going on after epoch {len(history)}")
    elif grid:
        shutil.rmtree(grid.folder, ignore_errors=True)  # of another training
        _draw_grid(grid, adversaries.generator, recipe, train, epoch=0)

    start, n_before, told = time.perf_counter(), len(history), -math.inf
    while len(history) < recipe.epochs:
        epoch = len(history) + 1
        means = _train_epoch(adversaries, images, recipe, epoch=epoch, machine=machine)
        row = dict(zip(TOLD, np.round(means, 6).tolist(), strict=True))
        history.append({"epoch": epoch, **row})
        if grid:
            _draw_grid(grid, adversaries.averaged, recipe, train, epoch=epoch)
        if checkpoint:
            checkpoint.save({"history": history, "adversaries": adversaries.state_dict()})
        now = time.perf_counter()
        if now - told >= SECONDS_BETWEEN_LINES or epoch == recipe.epochs:
            told = now
            seconds = (now - start) / (epoch - n_before)
            log(
                f"  epoch {epoch}/{recipe.epochs}: discriminator {row['discriminator_loss']:.3f}, "
                f"generator {row['generator_loss']:.3f}, {len(train.labels) / seconds:,.0f} "
                f"images/s, {seconds * (recipe.epochs - epoch):.0f} s left"
            )
    n_parameters = {
        name: sum(parameter.numel() for parameter in network.parameters())
        for name, network in (
            ("generator", adversaries.generator),
            ("discriminator", adversaries.discriminator),
        )
    }
    return FittedGan(adversaries.averaged.eval(), history, n_parameters)


def grid_path(folder: Path, epoch: int) -> Path:
    """Where the picture of an epoch lies; 0 is before the first."""
    return folder / f"epoch_{epoch:04}.png"


def draw_grid(
    path: Path, generator: Generator, *, n_classes: int, rows: int, columns: int, seed: int
) -> None:
    """Draw a picture of what a generator makes: a row a class, a column a noise.

    Args:
        path: of the PNG.
        generator: on its device.
        n_classes: of the images.
        rows: of the picture; a row a class, as far as there are classes, of one that is asked.
        columns: of the picture.
        seed: of the noise.
    """
    asked = generator.embedding is not None
    n_rows = min(rows, n_classes) if asked else rows
    labels = np.repeat(np.arange(n_rows), columns)
    # Down a column the noise is the same, so that what differs is what the class does.
    noise = draw_noise(generator, columns if asked else n_rows * columns, seed=seed)
    made = generate(
        generator,
        np.tile(noise, (n_rows, 1)) if asked else noise,
        labels if asked else np.zeros_like(labels),
        device=next(generator.parameters()).device,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_tiles(path, [list(row) for row in made.reshape(n_rows, columns, *made.shape[1:]) / 255])


def _draw_grid(
    grid: Grid,
    generator: Generator,
    recipe: GanRecipe,
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
        seed=recipe.seed,
    )


def _train_epoch(
    adversaries: Adversaries,
    images: TrainingImages,
    recipe: GanRecipe,
    *,
    epoch: int,
    machine: Machine,
) -> np.ndarray:
    """Go once through the images; the means of what steps tell."""
    pack = images.pack
    n_steps = count_batches(len(pack.labels), recipe.batch_size)
    told = torch.zeros(n_steps, len(TOLD), device=machine.device)
    adversaries.train()
    batches = epoch_batches(
        images,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        epoch=epoch,
        image_size=pack.size,
        normalize="half",
    )
    for step, batch in enumerate(
        track(batches, task=f"epoch {epoch}", total=n_steps, unit="steps"), start=1
    ):
        noise, asked = _draw_wishes(adversaries, batch, recipe, pack, counters=(epoch, step))
        labels = batch.labels if recipe.conditional else asked
        told[step - 1] = adversaries.step(batch.inputs, labels, noise, asked)
        if step % STEPS_BETWEEN_LOOKS == 0 or step == n_steps:
            _look(told[:step], epoch=epoch)
    return told.cpu().double().numpy().mean(0)


def _draw_wishes(
    adversaries: Adversaries,
    batch: Batch,
    recipe: GanRecipe,
    pack: Pack,
    *,
    counters: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and classes as often as images bear them, for as many images as the batch has."""
    n_images = len(batch.labels)
    draws = random_numbers(recipe.seed, "wishes", *counters)
    noise = draws.standard_normal((n_images, adversaries.generator.noise), dtype=np.float32)
    asked = np.zeros(n_images, np.int64)
    if recipe.conditional:
        asked = pack.labels[draws.integers(len(pack.labels), size=n_images)]
    device = batch.inputs.device
    return torch.from_numpy(noise).to(device), torch.from_numpy(asked).to(device)


def _look(told: torch.Tensor, *, epoch: int) -> None:
    """Stop if a loss is no number."""
    sound = told.isfinite().all(1).cpu()
    if sound.all():
        return
    step = int(sound.logical_not().nonzero()[0]) + 1
    raise UserError(
        f"epoch {epoch}, step {step}: a loss of the GAN is no number; lower "
        "train_gan.optimizer.lr, to a tenth say, or train_gan.penalty"
    )
