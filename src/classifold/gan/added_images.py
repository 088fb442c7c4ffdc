"""Train a classifier with several kinds of added images, among them generated ones.

The training images are split into folds. Each fold is held out once, the next one selects the
epoch, and the others train: first a GAN, and then a classifier, once with each kind of added
images and always from the same first weights:

- `repeated`: real images a second time (the reference);
- `generated`: images of the fold's GAN;
- `augmented`: augmented variants of real images, if the pack has variants.

The number of added images is the same for each kind, so that the number of steps, the learning
rates and the evaluations on the fold that selects the epoch are the same, too.
"""

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from classifold.data.pack import Pack, join
from classifold.data.seeding import generator as random_numbers
from classifold.errors import UserError
from classifold.gan.loop import draw_grid, fit_gan
from classifold.gan.sampling import generated_pack
from classifold.gan.trainer import GanConfig
from classifold.models.inference import predict_logits
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint
from classifold.training.config import TrainingConfig
from classifold.training.folds import fold_of_rows
from classifold.training.loop import fit
from classifold.training.machine import Machine

REFERENCE = "repeated"


class Gan(NamedTuple):
    """How the GAN of each fold is trained."""

    config: GanConfig
    policy: Mapping[str, Any]
    variants: bool  # whether it is trained on augmented variants, too
    grid: Mapping[str, int]  # rows and columns of its sample grid


class Classifier(NamedTuple):
    """The classifier that is trained with added images."""

    network: nn.Module  # on the machine's device, with its first weights
    config: TrainingConfig
    policy: Mapping[str, Any]


class HeldOutPredictions(NamedTuple):
    """The predictions for each image from the classifier that was not trained on its fold."""

    folds: np.ndarray  # int64 (N,), from 1
    predicted: dict[str, np.ndarray]  # kind of added images -> classes, int64 (N,)


def add_generated(
    train: Pack,
    folds: np.ndarray,
    *,
    gan: Gan,
    classifier: Classifier,
    generated_per_real: float,
    seed: int,
    machine: Machine,
    checkpoints: Path,
    key: str,
) -> HeldOutPredictions:
    """Train a GAN, and the classifier with each kind of added images, once per fold.

    Args:
        train: the training pack, with or without variants, one label per image.
        folds: int (N,), from 1, of the originals in the order of the pack.
        gan: how a GAN is trained.
        classifier: its weights change in place.
        generated_per_real: number of added images per real image.
        seed: seed of the added images.
        machine: device, precision and processes of the training run.
        checkpoints: folder for checkpoints, and in `samples` for the sample grid of each fold's
            GAN; the caller removes it.
        key: a hash of everything that the training runs depend on, see `training_key`.

    Raises:
        UserError: if the GAN is unconditional, or if a training run fails.
    """
    if not gan.config.conditional or train.task != "single":
        raise UserError(
            f"add_generated: needs a conditional GAN and one label per image, got "
            f"train_gan.conditional: {str(gan.config.conditional).lower()} and dataset.task: "
            f"{train.task}. Set train_gan.conditional to true, and use a data set of one label per "
            "image (dataset.task: single)."
        )
    originals = train.originals()
    fold_of_row = fold_of_rows(train, folds)
    first_weights = copy.deepcopy(classifier.network.state_dict())
    n_folds = int(folds.max())
    predicted: dict[str, np.ndarray] = {}

    def compute(fold: int, title: str) -> dict[str, Any]:
        selecting = fold % n_folds + 1
        rest = train.subset(np.flatnonzero(~np.isin(fold_of_row, [fold, selecting])))
        log(f"  {title}: training a GAN on {len(set(rest.ids)):,} images")
        generated = _generate(
            rest,
            gan,
            generated_per_real=generated_per_real,
            seed=seed,
            machine=machine,
            checkpoint=Checkpoint(checkpoints / f"{fold}.gan.safetensors", key),
            samples=checkpoints / "samples" / f"fold_{fold:02}.png",
        )
        selection, held_out = (
            originals.subset(np.flatnonzero(folds == number)) for number in (selecting, fold)
        )
        of_fold: dict[str, Any] = {}
        for kind, images in _training_sets(rest, generated, seed=seed).items():
            classifier.network.load_state_dict(first_weights)
            fit(
                classifier.network,
                images,
                selection,
                config=classifier.config,
                policy=classifier.policy,
                machine=machine,
                checkpoint=Checkpoint(checkpoints / f"{fold}.{kind}.safetensors", key),
            )
            logits = predict_logits(
                classifier.network,
                held_out.images,
                image_size=classifier.config.image_size,
                normalize=classifier.config.normalize,
                device=machine.device,
            )
            of_fold[kind] = torch.from_numpy(logits.argmax(1))
            accuracy = float((logits.argmax(1) == held_out.labels).mean())
            log(f"  {title}, {kind}: accuracy {accuracy:.4f} on {len(held_out.labels):,} images")
        return of_fold

    for fold in range(1, n_folds + 1):
        title = f"fold {fold}/{n_folds}"
        done = Checkpoint(checkpoints / f"{fold}.done.safetensors", key)
        kept = done.load_or_compute(partial(compute, fold, title), machine, title=title)
        for kind, classes in kept.items():
            of_all = predicted.setdefault(kind, np.zeros(len(folds), np.int64))
            of_all[folds == fold] = classes.numpy()
    return HeldOutPredictions(folds, predicted)


def _generate(
    train: Pack,
    gan: Gan,
    *,
    generated_per_real: float,
    seed: int,
    machine: Machine,
    checkpoint: Checkpoint,
    samples: Path,
) -> Pack:
    """Train a GAN, draw a sample grid, and generate images with the proportions of `train`."""
    originals = train.originals()
    fitted = fit_gan(
        train if gan.variants else originals,
        config=gan.config,
        policy=gan.policy,
        machine=machine,
        checkpoint=checkpoint,
    )
    draw_grid(
        samples,
        fitted.generator,
        n_classes=len(train.classes),
        seed=gan.config.seed,
        **gan.grid,
    )
    n_images = max(1, round(generated_per_real * len(originals.labels)))
    return generated_pack(fitted.generator, originals, n_images, seed=seed, device=machine.device)


def _training_sets(train: Pack, generated: Pack, *, seed: int) -> dict[str, Pack]:
    """Join the real images with the same number of added images of each kind."""
    originals = train.originals()
    n_added = len(generated.labels)
    draws = random_numbers(seed, "added")
    # A repeated permutation, so that the numbers of repetitions differ by one at most.
    repeated = np.resize(draws.permutation(len(originals.labels)), n_added)
    packs = {
        REFERENCE: join(originals, originals.subset(repeated)),
        "generated": join(originals, generated),
    }
    variants = np.flatnonzero(train.variants > 0)
    if len(variants):
        augmented = train.subset(np.resize(draws.permutation(variants), n_added))
        packs["augmented"] = join(originals, augmented)
    return packs
