"""One network trained on the same images, split and augmented in different ways.

Source: two warnings of report 002. Section 3.2: images that are split after they were augmented
have copies of validation images among those that are trained on. Section 3.1: copies that are made
once, before training, were found better than those drawn anew in every epoch.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from classifold.augmentation.offline import make_variants
from classifold.data.pack import Pack
from classifold.errors import UserError
from classifold.evaluation.intervals import percentile_interval, resample
from classifold.models.inference import predict_logits
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint
from classifold.training.limit import cap_epochs
from classifold.training.loop import fit
from classifold.training.machine import Machine
from classifold.training.recipe import Recipe

LATE = "split after augmentation"
NONE, ONLINE, OFFLINE, BOTH = "none", "online", "offline", "both"


class Arm(NamedTuple):
    """What a network is trained on, and what chooses its epoch."""

    train: Pack
    validation: Pack
    policy: Mapping[str, Any]


class Hits(NamedTuple):
    """Right answers to images, added up over seeds and over copies of an image."""

    hits: np.ndarray  # float64 (n_sources,)
    answers: np.ndarray  # float64 (n_sources,)

    @classmethod
    def of(cls, ids: Sequence[str], right: np.ndarray) -> "Hits":
        """Add up answers (n_seeds, n_images) by the id of the image."""
        sources, source_of = np.unique(np.array(ids), return_inverse=True)
        n_seeds, n_sources = len(right), len(sources)
        return cls(
            np.bincount(source_of, right.sum(0), n_sources),
            np.bincount(source_of, np.full(len(ids), float(n_seeds)), n_sources),
        )

    @property
    def share(self) -> float:
        """Right answers among all."""
        return float(self.hits.sum() / self.answers.sum())

    def resampled(self, *, resamples: int, seed: int) -> np.ndarray:
        """Shares (resamples,) with other images; copies of one are drawn together."""
        each = np.ones(len(self.hits), np.int64)
        return np.concatenate(
            [
                (draws @ self.hits) / (draws @ self.answers)
                for draws in resample(each, resamples=resamples, seed=seed)
            ]
        )


def make_arms(
    pool: Pack, held_out: np.ndarray, *, augmentation: Mapping[str, Any], seed: int
) -> dict[str, Arm]:
    """Make five trainings of equally many steps out of the same images.

    Four are split before augmentation: their validation images are originals that no copy was made
    of for training, and they train on originals alone (as often as there would be copies), on
    originals with a policy that draws anew in every epoch what copies are drawn from, on copies, or
    on copies with the policy. The fifth is augmented first and then split, by class but without a
    look at whose copies they are: as many images train, and copies of many validate.

    Args:
        pool: originals, of one label each.
        held_out: bool array (N,): the validation images of a split before augmentation.
        augmentation: arguments of `make_variants` but for the image.
        seed: of the split after augmentation.

    Raises:
        UserError: if images bear several labels, or no copies are made.
    """
    if pool.task != "single":
        raise UserError("this study is of one label an image; dataset.task is multi")
    everything = with_copies(pool, augmentation)
    n_copies = len(everything.labels) // len(pool.labels)
    if n_copies < 2:
        raise UserError(
            "augment makes no copies, so there is nothing to split late; set augment.flips to "
            "[none, horizontal] or augment.warped to 1"
        )
    plain = {"fill": augmentation["fill"], "steps": []}
    policy = policy_like(augmentation)
    train, validation = (pool.subset(np.flatnonzero(rows)) for rows in (~held_out, held_out))
    again = train.subset(np.tile(np.arange(len(train.labels)), n_copies))
    copies = everything.subset(np.flatnonzero(np.repeat(~held_out, n_copies)))
    learnt, checked = train_test_split(
        np.arange(len(everything.labels)),
        test_size=int(held_out.sum()) * n_copies,
        random_state=seed,
        stratify=everything.labels,
    )
    return {
        NONE: Arm(again, validation, plain),
        ONLINE: Arm(again, validation, policy),
        OFFLINE: Arm(copies, validation, plain),
        BOTH: Arm(copies, validation, policy),
        LATE: Arm(everything.subset(learnt), everything.subset(checked), plain),
    }


def with_copies(pack: Pack, augmentation: Mapping[str, Any]) -> Pack:
    """Make the copies that the stage `augment` would, in memory: those of an image in a row."""
    made = [
        make_variants(np.asarray(pack.images[row]), image_id=image_id, **augmentation)
        for row, image_id in enumerate(pack.ids)
    ]
    n_copies = len(made[0])
    return pack.subset(np.repeat(np.arange(len(made)), n_copies))._replace(
        images=np.stack([one.pixels for copies in made for one in copies]),
        variants=np.tile(np.arange(n_copies, dtype=np.int32), len(made)),
        transformations=[one.transformation for copies in made for one in copies],
    )


def policy_like(augmentation: Mapping[str, Any]) -> dict[str, Any]:
    """Draw in every epoch what copies are drawn from: flips, and ranges of warps."""
    flips = set(augmentation["flips"]) - {"none"}
    steps: list[dict[str, Any]] = []
    if flips:
        steps.append({"flip": flips.pop() if len(flips) == 1 else "both"})
    if augmentation["warped"]:
        steps += [{"rotate": augmentation["rotate"]}, {"scale": augmentation["scale"]}]
        steps += [
            {key: augmentation[key]} for key in ("shear", "shift") if np.any(augmentation[key])
        ]
    return {"fill": augmentation["fill"], "steps": steps}


def steady(model: Mapping[str, Any], *, epochs: int) -> dict[str, Any]:
    """A model in params that runs all its epochs, at most so many a phase: steps are the same."""
    capped = cap_epochs(model, epochs=epochs)
    phases = {
        name: {**phase, "stop": {**(phase.get("stop") or {}), "patience": None}}
        for name, phase in capped["phases"].items()
    }
    return {**capped, "phases": phases}


def train_arm(
    name: str,
    arm: Arm,
    clean: Pack,
    *,
    network: nn.Module,
    recipe: Recipe,
    machine: Machine,
    seeds: Sequence[int],
    checkpoints: Path,
    key: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Train from the same first weights with each seed; what is done survives a stop.

    Args:
        name: of the arm.
        arm: what is trained on, and what chooses the epoch.
        clean: images that no training and no choice sees.
        network: on the machine's device, with its first weights, which it has again at the end.
        recipe: how to train; its seed is replaced.
        machine: what computes.
        seeds: of order, dropout and policies.
        checkpoints: folder; the caller removes it when all is written.
        key: of everything that the trainings depend on, see `training_key`.

    Returns:
        Bool arrays (n_seeds, n_images): right answers to validation and to clean images.
    """
    first_weights = copy.deepcopy(network.state_dict())
    right: list[list[np.ndarray]] = []
    for seed in seeds:
        stem = f"{name.replace(' ', '_')}-{seed}"
        done = Checkpoint(checkpoints / f"{stem}.done.safetensors", key)
        kept = done.load()
        if kept is None:
            running = Checkpoint(checkpoints / f"{stem}.safetensors", key)
            network.load_state_dict(first_weights)
            fit(
                network,
                arm.train,
                arm.validation,
                recipe=recipe._replace(seed=seed),
                policy=arm.policy,
                machine=machine,
                checkpoint=running,
            )
            kept = {
                part: torch.from_numpy(_right(network, pack, recipe, machine))
                for part, pack in (("validation", arm.validation), ("clean", clean))
            }
            done.save(kept)
            running.remove()
        right.append([kept[part].numpy() for part in ("validation", "clean")])
        shares = [f"{answers.mean():.4f} of {len(answers):,}" for answers in right[-1]]
        log(f"  {name}, seed {seed}: {shares[0]} validation images, {shares[1]} clean ones")
    network.load_state_dict(first_weights)
    validation, clean_right = (np.stack(part) for part in zip(*right, strict=True))
    return validation, clean_right


def tell_arms(
    right: Mapping[str, tuple[np.ndarray, np.ndarray]],
    arms: Mapping[str, Arm],
    clean: Pack,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare what arms answered: on validation, on clean images, and how far the two are apart.

    Intervals are of other images, with the same seeds: bootstrap over sources, copies of one drawn
    together; gains over `none` are paired, as all arms answered the same clean images.

    Args:
        right: what `train_arm` gave for each arm.
        arms: the arms.
        clean: the clean images.
        resamples: number of bootstrap samples.
        seed: of the draws.
    """
    told: dict[str, Any] = {}
    reference = right[NONE][1].mean(0)
    for name, (on_validation, on_clean) in right.items():
        validation = Hits.of(arms[name].validation.ids, on_validation)
        measured = Hits.of(clean.ids, on_clean)
        drawn = validation.resampled(resamples=resamples, seed=seed)
        drawn_clean = measured.resampled(resamples=resamples, seed=seed + 1)
        gain = Hits(on_clean.mean(0) - reference, np.ones(len(reference)))
        drawn_gain = gain.resampled(resamples=resamples, seed=seed)
        told[name] = {
            "n_train_images": len(arms[name].train.labels),
            "n_validation_images": len(arms[name].validation.labels),
            "validation_accuracy": validation.share,
            "validation_accuracy_ci95": percentile_interval(drawn),
            "validation_accuracy_by_seed": on_validation.mean(1).tolist(),
            "clean_accuracy": measured.share,
            "clean_accuracy_ci95": percentile_interval(drawn_clean),
            "clean_accuracy_by_seed": on_clean.mean(1).tolist(),
            "flattered": validation.share - measured.share,
            "flattered_ci95": percentile_interval(drawn - drawn_clean),
            "gain_over_none": gain.share,
            "gain_over_none_ci95": percentile_interval(drawn_gain),
        }
    return told


def _right(network: nn.Module, pack: Pack, recipe: Recipe, machine: Machine) -> np.ndarray:
    """Bool array (N,): whether each image of one label is answered right."""
    logits = predict_logits(
        network,
        pack.images,
        image_size=recipe.image_size,
        normalize=recipe.normalize,
        device=machine.device,
    )
    right: np.ndarray = logits.argmax(1) == pack.labels
    return right
