"""Does it help a model to be trained on generated images as well? Cross-fitted, to be honest.

The training images are shared out to folds. Each fold is held out once, the next one chooses
epochs, and the others train: first a GAN, which so has seen neither of the two, and then a model,
once with each sort of added images, always from the same first weights:

- `repeated`: real images a second time;
- `generated`: by the fold's GAN;
- `warped`: augmented copies of real images, where the pack has some.

Of each sort as many are added, so that steps, learning rates and looks at the choosing fold are
the same, and nothing differs but where the added images come from.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from classifold.data.csv_file import write_rows
from classifold.data.pack import Pack, join
from classifold.data.seeding import generator as random_numbers
from classifold.errors import UserError
from classifold.evaluation.intervals import accuracy_gain_interval, accuracy_interval, mcnemar
from classifold.gan.adversaries import GanRecipe
from classifold.gan.drawing import generated_pack
from classifold.gan.loop import draw_grid, fit_gan
from classifold.models.inference import predict_logits
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint
from classifold.training.loop import fit
from classifold.training.machine import Machine
from classifold.training.recipe import Recipe

REFERENCE = "repeated"


class Gan(NamedTuple):
    """How the GAN of each fold is trained, and what it shows."""

    recipe: GanRecipe
    policy: Mapping[str, Any]
    copies: bool  # whether it learns from augmented copies too
    grid: Mapping[str, int]  # rows and columns of its pictures


class Small(NamedTuple):
    """The model that is trained with added images."""

    network: nn.Module  # on the machine's device, with its first weights
    recipe: Recipe
    policy: Mapping[str, Any]


class Answers(NamedTuple):
    """What the model answered to each image while it was held out."""

    folds: np.ndarray  # int64 (N,), from 1
    predicted: dict[str, np.ndarray]  # sort of added images -> classes, int64 (N,)


def add_generated(
    train: Pack,
    folds: np.ndarray,
    *,
    gan: Gan,
    small: Small,
    share: float,
    seed: int,
    machine: Machine,
    checkpoints: Path,
    key: str,
) -> Answers:
    """Train a GAN and the model with each sort of added images, once for each fold.

    Args:
        train: the training pack, with copies or without, one label an image.
        folds: int (N,), from 1, of the originals in the order of the pack.
        gan: how a GAN is trained.
        small: the model; its weights change in place.
        share: added images for each real one.
        seed: of what is added.
        machine: what computes.
        checkpoints: folder in which is kept what must survive a stop, and in `pictures` what
            each fold's GAN makes; the caller removes it.
        key: of everything that the trainings depend on, see `training_key`.

    Raises:
        UserError: if the GAN is not asked for classes, or if a training fails.
    """
    if not gan.recipe.conditional or train.task != "single":
        raise UserError(
            "add_generated needs generated images of one known class each: set "
            "train_gan.conditional to true, for a data set of one label an image "
            "(dataset.task: single)"
        )
    originals = train.originals()
    fold_of = dict(zip(originals.ids, folds.tolist(), strict=True))
    fold_of_row = np.array([fold_of[image_id] for image_id in train.ids])
    first_weights = copy.deepcopy(small.network.state_dict())
    n_folds = int(folds.max())
    predicted: dict[str, np.ndarray] = {}
    for fold in range(1, n_folds + 1):
        done = Checkpoint(checkpoints / f"{fold}.done.safetensors", key)
        kept = done.load()
        if kept:
            log(f"  fold {fold}/{n_folds}: trained before the stop")
        else:
            choosing = fold % n_folds + 1
            learning = train.subset(np.flatnonzero(~np.isin(fold_of_row, [fold, choosing])))
            log(f"  fold {fold}/{n_folds}: a GAN of {len(set(learning.ids)):,} images")
            made = _generate(
                learning,
                gan,
                share=share,
                seed=seed,
                machine=machine,
                checkpoint=Checkpoint(checkpoints / f"{fold}.gan.safetensors", key),
                picture=checkpoints / "pictures" / f"fold_{fold:02}.png",
            )
            chooser, held_out = (
                originals.subset(np.flatnonzero(folds == number)) for number in (choosing, fold)
            )
            kept = {}
            for sort, images in _with_added(learning, made, seed=seed).items():
                small.network.load_state_dict(first_weights)
                fit(
                    small.network,
                    images,
                    chooser,
                    recipe=small.recipe,
                    policy=small.policy,
                    machine=machine,
                    checkpoint=Checkpoint(checkpoints / f"{fold}.{sort}.safetensors", key),
                )
                logits = predict_logits(
                    small.network,
                    held_out.images,
                    image_size=small.recipe.image_size,
                    normalize=small.recipe.normalize,
                    device=machine.device,
                )
                kept[sort] = torch.from_numpy(logits.argmax(1))
                right = float((logits.argmax(1) == held_out.labels).mean())
                log(f"  fold {fold}/{n_folds}, {sort}: {right:.4f} of {len(held_out.labels)} right")
            done.save(kept)
        for sort, answers in kept.items():
            of_all = predicted.setdefault(sort, np.zeros(len(folds), np.int64))
            of_all[folds == fold] = answers.numpy()
    return Answers(folds, predicted)


def compare(answers: Answers, labels: np.ndarray, *, resamples: int, seed: int) -> dict[str, Any]:
    """Measure each sort of added images, and what it gains over real ones shown again.

    Intervals tell what other images of the same kind would do to the numbers, and not what
    another seed would.

    Args:
        answers: to N images.
        labels: int64 (N,).
        resamples: number of bootstrap samples.
        seed: of the draws.

    Returns:
        `n_images`, and for each sort accuracy, accuracy_ci95, accuracy_by_fold; of those that are
        not the reference also gain, gain_ci95, gain_p_value.
    """
    hits = {sort: predicted == labels for sort, predicted in answers.predicted.items()}
    compared: dict[str, Any] = {"n_images": len(labels)}
    for sort, right in hits.items():
        by_fold = [right[answers.folds == fold].mean() for fold in np.unique(answers.folds)]
        compared[sort] = {
            "accuracy": right.mean(),
            "accuracy_ci95": accuracy_interval(int(right.sum()), len(right)),
            "accuracy_by_fold": by_fold,
        }
        if sort != REFERENCE:
            reference = hits[REFERENCE]
            compared[sort] |= {
                "gain": right.mean() - reference.mean(),
                "gain_ci95": accuracy_gain_interval(
                    right, reference, resamples=resamples, seed=seed
                ),
                "gain_p_value": mcnemar(
                    int((right & ~reference).sum()), int((reference & ~right).sum())
                ),
            }
    return compared


def write_answers(path: Path, answers: Answers, originals: Pack) -> None:
    """Write a row an image: its id, its class, its fold, the answer with each sort of images."""
    rows = [
        {
            "id": image_id,
            "label": originals.classes[originals.labels[row]],
            "fold": int(answers.folds[row]),
            **{
                sort: originals.classes[predicted[row]]
                for sort, predicted in answers.predicted.items()
            },
        }
        for row, image_id in enumerate(originals.ids)
    ]
    write_rows(path, rows, columns=list(rows[0]))


def _generate(
    learning: Pack,
    gan: Gan,
    *,
    share: float,
    seed: int,
    machine: Machine,
    checkpoint: Checkpoint,
    picture: Path,
) -> Pack:
    """Train a GAN on the images of the other folds, and let it make images in their shares."""
    originals = learning.originals()
    fitted = fit_gan(
        learning if gan.copies else originals,
        recipe=gan.recipe,
        policy=gan.policy,
        machine=machine,
        checkpoint=checkpoint,
    )
    draw_grid(
        picture,
        fitted.generator,
        n_classes=len(learning.classes),
        seed=gan.recipe.seed,
        **gan.grid,
    )
    n_images = max(1, round(share * len(originals.labels)))
    return generated_pack(fitted.generator, originals, n_images, seed=seed, device=machine.device)


def _with_added(learning: Pack, generated: Pack, *, seed: int) -> dict[str, Pack]:
    """The real images with as many added of each sort."""
    originals = learning.originals()
    n_added = len(generated.labels)
    draws = random_numbers(seed, "added")
    # Whole rounds first, so that no image comes twice more often than another.
    again = np.resize(draws.permutation(len(originals.labels)), n_added)
    packs = {
        REFERENCE: join(originals, originals.subset(again)),
        "generated": join(originals, generated),
    }
    copies = np.flatnonzero(learning.variants > 0)
    if len(copies):
        warped = learning.subset(np.resize(draws.permutation(copies), n_added))
        packs["warped"] = join(originals, warped)
    return packs
