"""Out-of-fold logits: of every training image, by a network that was not trained on it.

The training images are split into folds, and the network is trained once without each fold. Its
best epoch is chosen on the validation images, as in any other training, and never on the held-out
fold: nothing that predicts an image was fitted to it.
"""

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifold.data.logits_file import Logits
from classifold.data.out_of_fold import OutOfFold
from classifold.data.pack import Pack
from classifold.runtime.progress import log
from classifold.splitting.stratified import stratify_folds
from classifold.training.checkpoints import Checkpoint, training_key
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.loop import fit
from classifold.training.losses import one_hot
from classifold.training.model_errors import explain_errors_of
from classifold.training.scores import score_logits
from classifold.training.setup import Training, prepare


def train_folds(
    name: str,
    *,
    settings: Mapping[str, Any],
    model: Mapping[str, Any],
    policy: Mapping[str, Any],
    packs: Path,
    n_folds: int,
    seed: int,
    checkpoints: Path,
) -> tuple[OutOfFold, dict[str, Any]]:
    """Train a model once without each fold of the training images, and predict that fold.

    Args:
        name: name of the model.
        settings: `train` of params.
        model: its entry of `models` in params.
        policy: policy of online augmentation.
        packs: folder of the packs `train` and `validation`.
        n_folds: number of folds.
        seed: seed of the folds, which are the same for all models.
        checkpoints: folder of the state that survives an interruption; see `fit_folds`.

    Returns:
        The out-of-fold logits, and `metrics/folds/<name>.json`.

    Raises:
        UserError: if there are too few groups, or
            if training fails.
    """
    with explain_errors_of(name):
        training = prepare(settings, model, packs=packs)
    originals = training.train.originals()
    folds = assign_folds(originals, n_folds=n_folds, seed=seed)
    params = training.params(policy) | {"folds": folds.tolist()}
    key = training_key(params, packs, training.machine)
    log(f"  {name} on {training.machine.device.type}, {training.precision}, {n_folds} folds")
    with explain_errors_of(name):
        logits, best_epochs = fit_folds(
            training, folds=folds, policy=policy, checkpoints=checkpoints, key=key
        )
    score = score_logits(logits, originals.labels, loss=training.config.loss)
    result = OutOfFold(Logits(np.array(originals.ids), originals.labels, logits), folds)
    metrics = {
        "n_folds": n_folds,
        "n_images": len(folds),
        **score.columns("out_of_fold"),
        "best_epochs": best_epochs,
    }
    return result, metrics


def assign_folds(
    originals: Pack, *, n_folds: int, seed: int, setting: str = "stack.folds"
) -> np.ndarray:
    """Assign images to folds as `assign_parts` does, and log classes that are in one fold only.

    Args:
        originals: the training images without augmented variants.
        n_folds: number of folds.
        seed: seed of the assignment.
        setting: the key in params for `n_folds`, for messages.

    Returns:
        int64 array (N,): the fold of each image, from 1.

    Raises:
        UserError: if there are too few groups.
    """
    folds = assign_parts(originals, n_parts=n_folds, seed=seed, setting=setting) + 1
    positive = one_hot(originals.labels, len(originals.classes)).astype(bool)
    for name, of_class in zip(originals.classes, positive.T, strict=True):
        if len(set(folds[of_class])) == 1:
            log(
                f"  class '{name}': all images are in one fold, so they are predicted by a "
                "network that was trained without this class"
            )
    return folds


def assign_parts(originals: Pack, *, n_parts: int, seed: int, setting: str) -> np.ndarray:
    """Assign images to parts of the same size and class proportions; groups stay in one part.

    Args:
        originals: images without augmented variants.
        n_parts: number of parts.
        seed: seed of the assignment.
        setting: the key in params for `n_parts`, for messages.

    Returns:
        int64 array (N,), in [0, n_parts).

    Raises:
        UserError: if there are too few groups.
    """
    positive = one_hot(originals.labels, len(originals.classes)).astype(bool)
    labels = [[originals.classes[i] for i in np.flatnonzero(row)] for row in positive]
    groups = originals.groups or originals.ids
    return stratify_folds(labels, groups, n_folds=n_parts, seed=seed, setting=setting)


def fold_of_rows(pack: Pack, folds: np.ndarray) -> np.ndarray:
    """Return the fold of each row of a pack: augmented variants of an image are in its fold.

    Args:
        pack: with or without augmented variants.
        folds: int (N,): the folds of its originals, in the order of the pack.

    Returns:
        int64 array (n_rows,).
    """
    fold_of = dict(zip(pack.originals().ids, folds.tolist(), strict=True))
    return np.array([fold_of[image_id] for image_id in pack.ids])


def fit_folds(
    training: Training,
    *,
    folds: np.ndarray,
    policy: Mapping[str, Any],
    checkpoints: Path,
    key: str,
) -> tuple[np.ndarray, list[int]]:
    """Train a network from its initial weights, once without each fold.

    Epochs are chosen on the validation pack. The logits of finished folds and the state of the
    current training are saved in `checkpoints`, from which an interrupted run continues.

    Args:
        training: its network has its initial weights, which change in place.
        folds: int (N,), of the originals in the order of the training pack.
        policy: policy of online augmentation.
        checkpoints: folder; the caller removes it after writing the results.
        key: hash of everything that the training runs depend on, see `training_key`.

    Returns:
        float32 array (N, n_classes), and the best epoch of each fold.
    """
    network, train, config, machine = (
        training.network,
        training.train,
        training.config,
        training.machine,
    )
    originals, fold_of_row = train.originals(), fold_of_rows(train, folds)
    initial_weights = copy.deepcopy(network.state_dict())
    logits = np.zeros((len(folds), len(train.classes)), np.float32)
    best_epochs: list[int] = []
    n_folds = int(folds.max())

    def compute(fold: int, title: str, running: Checkpoint) -> dict[str, Any]:
        others = train.subset(np.flatnonzero(fold_of_row != fold))
        held_out = originals.subset(np.flatnonzero(folds == fold))
        log(f"  {title}: {len(others.labels):,} training images, {len(held_out.labels):,} held out")
        if config.head is None:  # otherwise both parts are fitted again, or frozen
            network.load_state_dict(initial_weights)
        fitted = fit(
            network,
            others,
            training.validation,
            config=config,
            policy=policy,
            machine=machine,
            cache=training.cache,
            checkpoint=running,
            title=title,
        )
        if machine.device.type == "cuda":
            torch.cuda.empty_cache()  # otherwise the next fold's images seem not to fit
        out_of_fold = predict_distributed(
            network,
            held_out,
            body=fitted.body,
            machine=machine,
            image_size=config.image_size,
            normalize=config.normalize,
        )
        described = score_logits(out_of_fold, held_out.labels, loss=config.loss).describe(
            "out-of-fold"
        )
        log(f"  {title}: best epoch {fitted.best_epoch}, {described}")
        return {"best_epoch": fitted.best_epoch, "logits": torch.from_numpy(out_of_fold)}

    for fold in range(1, n_folds + 1):
        title = f"fold {fold}/{n_folds}"
        running = Checkpoint(checkpoints / f"{fold}.safetensors", key)
        done = Checkpoint(checkpoints / f"{fold}.done.safetensors", key)
        kept = done.load_or_compute(partial(compute, fold, title, running), machine, title=title)
        best_epochs.append(kept["best_epoch"])
        logits[folds == fold] = kept["logits"].numpy()
        running.remove()
    machine.fabric.barrier()  # no process saves any more: the caller may remove the checkpoints
    return logits, best_epochs
