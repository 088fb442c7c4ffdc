"""Train one network on the same images, split and augmented in different ways (study arms).

Source: two warnings of report 002. Section 3.2: if images are split after augmentation, variants
of validation images are among the training images. Section 3.1: variants that are made once,
before training, gave better scores than on-the-fly augmentation.
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
from classifold.training.config import TrainingConfig
from classifold.training.limit import cap_epochs
from classifold.training.loop import fit
from classifold.training.machine import Machine

LATE = "split after augmentation"
NONE, ONLINE, OFFLINE, BOTH = "none", "online", "offline", "both"


class Arm(NamedTuple):
    """The training images, the validation images that select the epoch, and the policy."""

    train: Pack
    validation: Pack
    policy: Mapping[str, Any]


class Counts(NamedTuple):
    """Correct predictions per source image, summed over seeds and over variants."""

    n_correct: np.ndarray  # float64 (n_sources,)
    n_predictions: np.ndarray  # float64 (n_sources,)

    @classmethod
    def of(cls, ids: Sequence[str], correct: np.ndarray) -> "Counts":
        """Sum predictions (n_seeds, n_images) by the id of the source image."""
        sources, source_of = np.unique(np.array(ids), return_inverse=True)
        n_seeds, n_sources = len(correct), len(sources)
        return cls(
            np.bincount(source_of, correct.sum(0), n_sources),
            np.bincount(source_of, np.full(len(ids), float(n_seeds)), n_sources),
        )

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions."""
        return float(self.n_correct.sum() / self.n_predictions.sum())

    def resampled(self, *, resamples: int, seed: int) -> np.ndarray:
        """Bootstrap the accuracy over source images: float64 (resamples,)."""
        each = np.ones(len(self.n_correct), np.int64)
        return np.concatenate(
            [
                (samples @ self.n_correct) / (samples @ self.n_predictions)
                for samples in resample(each, resamples=resamples, seed=seed)
            ]
        )


def make_arms(
    pool: Pack, held_out: np.ndarray, *, augmentation: Mapping[str, Any], seed: int
) -> dict[str, Arm]:
    """Make five arms with the same number of training steps from the same images.

    Four are split before augmentation. Their validation images are originals, of which no variant
    is trained on. They train on originals alone (repeated, to the number of variants), on originals
    with an on-the-fly policy of the same transformations, on variants, or on variants with the
    policy. The fifth is augmented first and then split by class, without grouping the variants of
    an image: as many images train, and variants of many of them validate.

    Args:
        pool: originals, with one label each.
        held_out: bool array (N,): the validation images of a split before augmentation.
        augmentation: arguments of `make_variants` except the image.
        seed: seed of the split after augmentation.

    Raises:
        UserError: if images have several labels, or if `augment` makes no variants.
    """
    if pool.task != "single":
        raise UserError("dataset.task: must be single for this study, got multi.")
    everything = with_variants(pool, augmentation)
    n_variants = len(everything.labels) // len(pool.labels)
    if n_variants < 2:
        raise UserError(
            "augment: makes no variants, so there is nothing to split after augmentation. Set "
            "augment.flips to [none, horizontal] or augment.warped to 1."
        )
    plain = {"fill": augmentation["fill"], "steps": []}
    policy = equivalent_policy(augmentation)
    train, validation = (pool.subset(np.flatnonzero(rows)) for rows in (~held_out, held_out))
    repeated = train.subset(np.tile(np.arange(len(train.labels)), n_variants))
    variants = everything.subset(np.flatnonzero(np.repeat(~held_out, n_variants)))
    late_train, late_validation = train_test_split(
        np.arange(len(everything.labels)),
        test_size=int(held_out.sum()) * n_variants,
        random_state=seed,
        stratify=everything.labels,
    )
    return {
        NONE: Arm(repeated, validation, plain),
        ONLINE: Arm(repeated, validation, policy),
        OFFLINE: Arm(variants, validation, plain),
        BOTH: Arm(variants, validation, policy),
        LATE: Arm(everything.subset(late_train), everything.subset(late_validation), plain),
    }


def with_variants(pack: Pack, augmentation: Mapping[str, Any]) -> Pack:
    """Make the variants that the stage `augment` makes, in memory, those of an image together."""
    made = [
        make_variants(np.asarray(pack.images[row]), image_id=image_id, **augmentation)
        for row, image_id in enumerate(pack.ids)
    ]
    n_variants = len(made[0])
    return pack.subset(np.repeat(np.arange(len(made)), n_variants))._replace(
        images=np.stack([one.pixels for variants in made for one in variants]),
        variants=np.tile(np.arange(n_variants, dtype=np.int32), len(made)),
        transformations=[one.transformation for variants in made for one in variants],
    )


def equivalent_policy(augmentation: Mapping[str, Any]) -> dict[str, Any]:
    """Make an on-the-fly policy of the same flips and ranges of warps."""
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


def without_early_stopping(model: Mapping[str, Any], *, epochs: int) -> dict[str, Any]:
    """Change a model in params to run all its epochs, at most `epochs` per phase.

    The number of steps is then the same in all arms.

    Raises:
        UserError: if the model has no phases.
    """
    if "phases" not in model:
        raise UserError(
            "train_arms.model: must be trained in phases, got a model of network probe, which "
            "does not augment images on the fly. Choose another model."
        )
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
    config: TrainingConfig,
    machine: Machine,
    seeds: Sequence[int],
    checkpoints: Path,
    key: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Train once with each seed, from the same first weights; it can be interrupted and resumed.

    Args:
        name: the name of the arm.
        arm: its images and policy.
        clean: images that are neither trained on nor used to select an epoch.
        network: on the machine's device, with its first weights, which are restored at the end.
        config: how to train; its seed is replaced.
        machine: device, precision and processes of the training run.
        seeds: seeds of order, dropout and policies.
        checkpoints: folder; the caller removes it after all outputs are written.
        key: a hash of everything that the training runs depend on, see `training_key`.

    Returns:
        Bool arrays (n_seeds, n_images): correct predictions for validation and for clean images.
    """
    first_weights = copy.deepcopy(network.state_dict())
    correct: list[list[np.ndarray]] = []
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
                config=config._replace(seed=seed),
                policy=arm.policy,
                machine=machine,
                checkpoint=running,
            )
            kept = {
                split: torch.from_numpy(_correct(network, pack, config, machine))
                for split, pack in (("validation", arm.validation), ("clean", clean))
            }
            done.save(kept)
            running.remove()
        correct.append([kept[split].numpy() for split in ("validation", "clean")])
        scores = [f"{each.mean():.4f} of {len(each):,}" for each in correct[-1]]
        log(f"  {name}, seed {seed}: accuracy {scores[0]} validation, {scores[1]} clean images")
    network.load_state_dict(first_weights)
    on_validation, on_clean = (np.stack(split) for split in zip(*correct, strict=True))
    return on_validation, on_clean


def compare_arms(
    correct: Mapping[str, tuple[np.ndarray, np.ndarray]],
    arms: Mapping[str, Arm],
    clean: Pack,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Compare the accuracies of arms on validation and clean images, and their difference.

    Intervals are 95 % bootstrap intervals over source images, with the same seeds; variants of an
    image are resampled together. Gains over `none` are paired by clean image.

    Args:
        correct: the result of `train_arm` for each arm.
        arms: the arms.
        clean: the clean images.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        For each arm the numbers of images, accuracies, `optimistic_bias` (validation minus clean
        accuracy) and `gain_over_none` (of clean accuracy), with intervals.
    """
    compared: dict[str, Any] = {}
    reference = correct[NONE][1].mean(0)
    for name, (on_validation, on_clean) in correct.items():
        validation = Counts.of(arms[name].validation.ids, on_validation)
        measured = Counts.of(clean.ids, on_clean)
        resampled = validation.resampled(resamples=resamples, seed=seed)
        resampled_clean = measured.resampled(resamples=resamples, seed=seed + 1)
        gain = Counts(on_clean.mean(0) - reference, np.ones(len(reference)))
        resampled_gain = gain.resampled(resamples=resamples, seed=seed)
        compared[name] = {
            "n_train_images": len(arms[name].train.labels),
            "n_validation_images": len(arms[name].validation.labels),
            "validation_accuracy": validation.accuracy,
            "validation_accuracy_ci95": percentile_interval(resampled),
            "validation_accuracy_by_seed": on_validation.mean(1).tolist(),
            "clean_accuracy": measured.accuracy,
            "clean_accuracy_ci95": percentile_interval(resampled_clean),
            "clean_accuracy_by_seed": on_clean.mean(1).tolist(),
            "optimistic_bias": validation.accuracy - measured.accuracy,
            "optimistic_bias_ci95": percentile_interval(resampled - resampled_clean),
            "gain_over_none": gain.accuracy,
            "gain_over_none_ci95": percentile_interval(resampled_gain),
        }
    return compared


def _correct(
    network: nn.Module, pack: Pack, config: TrainingConfig, machine: Machine
) -> np.ndarray:
    """Compute for each image whether its prediction is correct: bool array (N,)."""
    logits = predict_logits(
        network,
        pack.images,
        image_size=config.image_size,
        normalize=config.normalize,
        device=machine.device,
    )
    correct: np.ndarray = logits.argmax(1) == pack.labels
    return correct
