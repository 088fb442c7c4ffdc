"""Fit the head of a probe on features of a frozen body, by scikit-learn or nearest neighbors."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from torch import nn

from classifold.data.logits_file import Logits
from classifold.data.pack import Pack
from classifold.data.seeding import generator
from classifold.errors import SettingError
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.models.fitted_head import FittedBody, NearestNeighbors
from classifold.models.inference import batch_size_of
from classifold.models.preprocessing import to_input
from classifold.runtime.progress import log
from classifold.training.config import HEAD, TrainingConfig
from classifold.training.freezing import count_parameters, set_trainable
from classifold.training.frozen_body import ROWS, FrozenBody
from classifold.training.logistic_head import LogisticRegressions
from classifold.training.losses import one_hot
from classifold.training.machine import Machine
from classifold.training.scores import SELECTION_METRIC, Score, rank, score_logits

N_FOLDS = 5  # of the cross-validation

# For the features of the training images as float32 numbers; fits need little more.
MAX_FRACTION_OF_MEMORY = 0.6

MAX_IMAGES_FOR_BODY = 1000  # that a body is fitted on


class FittedProbe(NamedTuple):
    """The result of a fit, beside the head, which is in the network."""

    history: list[dict[str, Any]]  # one row
    phases: dict[str, dict[str, Any]]
    body: FrozenBody


def fit_probe(
    network: nn.Module,
    train: Pack,
    validation: Pack | None,
    *,
    config: TrainingConfig,
    machine: Machine,
    cache: FeatureCache | None = None,
    title: str = "training",
) -> FittedProbe:
    """Fit the head of a probe in place; of several candidates the one with the best score is kept.

    The score is that of the validation images or, with `choose_by: cross_validation`, that of the
    original training images, each by a head that was fitted without the images of its group.

    Args:
        network: a network with a `FittedHead`, on the machine's device. A `FittedBody` is fitted
            first.
        train: the training pack, with augmented variants.
        validation: the validation pack; None where there is one candidate.
        config: config with a `head`.
        machine: device, precision and processes of the training run.
        cache: files of features; without it they are kept in memory.
        title: the beginning of log lines.

    Raises:
        UserError: if there are too few training images for a body that is fitted, or fewer than
            neighbors, if their features do not fit into the memory, if features are NaN or
            infinite, or if there are too few images for cross-validation.
    """
    set_trainable(network, "head")
    if isinstance(network, FittedBody):
        log(f"  {title}: fitting the body without labels")
        batches = batches_for_body(train, config=config, machine=machine)
        network.fit_body(batches, seed=config.seed)
        if machine.n_processes > 1:  # whose processors may round otherwise
            fitted = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
            network.load_state_dict(machine.fabric.broadcast(fitted))
    splits = {"train": train} | ({"validation": validation} if validation else {})
    body = _compute_features(
        network, splits, config=config, machine=machine, cache=cache, title=title
    )
    key, candidates = config.candidates()
    tried: dict[str, dict[str, float]] = {}
    if len(candidates) > 1 and (config.head or {}).get("choose_by") == "cross_validation":
        by_folds = _cross_validate(network, body, train, config=config)
        for candidate, score in by_folds.items():
            log(f"  {title}: {key} {candidate:g}, {score.describe('cross-validation')}")
            tried[f"{candidate:g}"] = score.columns("cross_validation")
        metric = SELECTION_METRIC[train.task]
        candidates = [max(by_folds, key=lambda candidate: rank(by_folds[candidate], metric))]
    make_head = _head_maker(network, body, train, config=config)

    def fit_head(value: float) -> _Candidate:
        network.head = make_head(value).to(machine.device)
        fitted = _score_head(network, body, splits, value=value, config=config)
        log(f"  {title}: {key} {value:g}, {fitted.description}")
        tried[f"{value:g}"] = fitted.columns | tried.get(f"{value:g}", {})
        return fitted

    # One after the other: heads of nearest neighbors are large. Of equals the first is kept.
    best = max(map(fit_head, candidates), key=lambda fitted: fitted.rank)
    network.head = best.head
    network.eval()
    summary = {
        **{"n_epochs": 1, "first_epoch": 1, "last_epoch": 1, "best_epoch": 1},
        key: best.value,
        **{k: v for k, v in best.columns.items() if k.startswith("validation_")},
        "n_trainable_parameters": count_parameters(network, trainable=True),
        "tried": tried,
    }
    row = {"phase": HEAD, "epoch": 1, "learning_rate": 0.0, **best.columns}
    return FittedProbe([row], {HEAD: summary}, body)


def batches_for_body(
    train: Pack, *, config: TrainingConfig, machine: Machine, max_images: int = MAX_IMAGES_FOR_BODY
) -> Iterator[torch.Tensor]:
    """Read random original training images, as the network gets them."""
    images, device = train.originals().images, machine.device
    n_images = min(len(images), max_images)
    rows = np.sort(generator(config.seed, "body").permutation(len(images))[:n_images])
    batch_size = batch_size_of(config.image_size, device)
    for start in range(0, n_images, batch_size):
        batch = np.array(images[rows[start : start + batch_size]])
        yield to_input(
            batch, image_size=config.image_size, normalize=config.normalize, device=device
        )


def _compute_features(
    network: nn.Module,
    splits: Mapping[str, Pack],
    *,
    config: TrainingConfig,
    machine: Machine,
    cache: FeatureCache | None,
    title: str,
) -> FrozenBody:
    """Compute the features of all images: in files or, if they cannot be kept there, in memory."""
    settings: dict[str, Any] = {"image_size": config.image_size, "normalize": config.normalize}
    body = FrozenBody(network, cache, machine=machine, **settings)
    try:
        features = [body.features(pack.images) for pack in splits.values()]
    except NotCachedError as reason:
        log(f"  {title}: features are kept in memory and in no file, since {reason}")
        body = FrozenBody(network, None, machine=machine, **settings)
        features = [body.features(pack.images) for pack in splits.values()]
    _check_memory(features[0])
    for of_split in features:
        _check_finite(of_split)
    return body


class _Candidate(NamedTuple):
    """A fitted head, and its scores."""

    value: float  # of `c` or `k`
    head: nn.Module
    rank: list[float]
    columns: dict[str, float]
    description: str  # of the scores


def _score_head(
    network: nn.Module,
    body: FrozenBody,
    splits: Mapping[str, Pack],
    *,
    value: float,
    config: TrainingConfig,
) -> _Candidate:
    """Score the head of a network on each split; its rank is by the last one."""
    scores = {
        name: score_logits(body.logits(network, pack.images), pack.labels, loss=config.loss)
        for name, pack in splits.items()
    }
    last = next(reversed(scores))
    return _Candidate(
        value,
        cast(nn.Module, network.head),
        rank(scores[last], SELECTION_METRIC[splits[last].task]),
        {k: v for name, score in scores.items() for k, v in score.columns(name).items()},
        ", ".join(score.describe(name) for name, score in scores.items()),
    )


def _head_maker(
    network: nn.Module, body: FrozenBody, train: Pack, *, config: TrainingConfig
) -> Callable[[Any], nn.Module]:
    """Return a function that fits a head for a value of `c` or `k`."""
    key, candidates = config.candidates()
    features, labels = body.features(train.images), one_hot(train.labels, len(train.classes))
    if key == "c":
        return LogisticRegressions(features, labels, task=train.task).fit
    if max(candidates) > len(labels):
        raise SettingError(
            f"head.k: must be at most {len(labels):,}, the number of images that the head is "
            f"fitted on, got {max(candidates)}. Lower it."
        )

    def neighbors_head(k: int) -> nn.Module:
        examples = torch.from_numpy(np.array(features)), torch.from_numpy(labels)
        return NearestNeighbors(*examples, neighbors=k, task=train.task)

    return neighbors_head


def _check_memory(features: np.ndarray) -> None:
    """Raise a UserError if the features, as float32 numbers, do not fit into the memory."""
    needed = 4 * math.prod(features.shape)
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if needed > MAX_FRACTION_OF_MEMORY * memory:
            raise SettingError(
                f"head: must have features of at most {MAX_FRACTION_OF_MEMORY:.0%} of the memory, "
                f"{memory / 2**30:.1f} GiB, got {needed / 2**30:.1f} GiB of {len(features):,} "
                "images and variants. Lower augment.warped or, of fisher_vectors, components; or "
                "train the head of network timm in batches, by a phase with trainable: head."
            )


def _check_finite(features: np.ndarray) -> None:
    """Raise a UserError if a feature is NaN or infinite."""
    chunks = (features[start : start + ROWS] for start in range(0, len(features), ROWS))
    n_finite = sum(int(np.isfinite(chunk).all(axis=1).sum()) for chunk in chunks)
    if n_finite < len(features):
        raise SettingError(
            f"arguments: the features must be finite, got NaN or infinity for "
            f"{len(features) - n_finite:,} of {len(features):,} images. Use other weights, or set "
            "train.precision to fp32."
        )


def out_of_fold_logits(
    network: nn.Module, body: FrozenBody, train: Pack, *, config: TrainingConfig
) -> Logits | None:
    """Predict original training images, each by a head that was fitted without its group.

    Args:
        network: network `probe`; its head is the same afterwards.
        body: its body.
        train: the training pack; augmented variants are not used.
        config: config whose `head` has one candidate, see `TrainingConfig.as_trained`.

    Returns:
        Logits, NaN where the training images of the head had no image of the class; None if there
        are too few images for several folds.
    """
    originals = train.originals()
    n_classes = len(train.classes)
    try:
        folds = _assign_folds(originals, seed=config.seed)
        (logits,) = _held_out_logits(network, body, originals, folds=folds, config=config).values()
    except SettingError:  # of too few groups, or too few neighbors
        return None
    if originals.task == "single":
        n_folds = [len(np.unique(folds[originals.labels == label])) for label in range(n_classes)]
        logits[np.array(n_folds)[originals.labels] < 2] = np.nan
    return Logits(np.array(originals.ids), originals.labels, logits)


def _cross_validate(
    network: nn.Module, body: FrozenBody, train: Pack, *, config: TrainingConfig
) -> dict[Any, Score]:
    """Score each candidate on the original training images, by heads fitted without them."""
    folds = _assign_folds(train, seed=config.seed)
    logits = _held_out_logits(network, body, train, folds=folds, config=config)
    originals = np.flatnonzero(train.variants == 0)
    labels = train.labels[originals]
    return {value: score_logits(of, labels, loss=config.loss) for value, of in logits.items()}


def _held_out_logits(
    network: nn.Module,
    body: FrozenBody,
    train: Pack,
    *,
    folds: np.ndarray,
    config: TrainingConfig,
) -> dict[Any, np.ndarray]:
    """Compute logits by heads that were fitted without the fold of an image.

    Args:
        network: its head is the same afterwards.
        body: the network's body.
        train: images, with or without variants.
        folds: int array (N,): the fold of each image.
        config: config with a `head`.

    Returns:
        Candidate -> float32 (n_images, n_classes), of the original images.
    """
    _, candidates = config.candidates()
    originals = np.flatnonzero(train.variants == 0)
    kept = network.head
    logits = {
        candidate: np.empty((len(originals), len(train.classes)), np.float32)
        for candidate in candidates
    }
    for fold in np.unique(folds):
        rest, held_out = train.subset(np.flatnonzero(folds != fold)), folds[originals] == fold
        make_head = _head_maker(network, body, rest, config=config)
        images = train.subset(originals[held_out]).images
        for candidate in candidates:
            network.head = make_head(candidate).to(body.device)
            logits[candidate][held_out] = body.logits(network, images)
    network.head = kept
    return logits


def _assign_folds(pack: Pack, *, seed: int) -> np.ndarray:
    """Assign images to folds of about equal class proportions.

    Returns:
        int64 array (N,), from 0. Variants of an image are in its fold, and so are all images of its
        group.

    Raises:
        UserError: if there are too few images.
    """
    ids, first, image_of_row = np.unique(pack.ids, return_index=True, return_inverse=True)
    groups = np.array(pack.groups or pack.ids)[first]
    labels = pack.labels[first]
    single = pack.task == "single"
    n_folds = min(N_FOLDS, len(np.unique(groups)))
    if single:  # no more than images of the largest class
        n_folds = min(n_folds, int(np.bincount(labels).max()))
    if n_folds < 2:
        raise SettingError(
            "head.choose_by: cross_validation needs two images of one class that are in different "
            f"groups, got {len(ids):,} training images. Choose by validation."
        )
    assign = StratifiedGroupKFold if single else GroupKFold
    folds = np.zeros(len(ids), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that are in fewer folds
        splits = assign(n_folds, shuffle=True, random_state=seed).split(ids, labels, groups)
        for fold, (_, rows) in enumerate(splits):
            folds[rows] = fold
    return folds[image_of_row]
