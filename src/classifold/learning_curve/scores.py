"""Fit probes on subsets of the training images, and score them on validation images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.pack import Pack
from classifold.evaluation.intervals import score_terms
from classifold.learning_curve.subsets import PARTS_SETTING, nested_subsets
from classifold.models.decisions import fit_threshold, probabilities
from classifold.runtime.progress import log
from classifold.training.folds import assign_parts
from classifold.training.probe import fit_probe
from classifold.training.scores import SELECTION_METRIC, rank, score_logits
from classifold.training.setup import Training


class Terms(NamedTuple):
    """A score of one probe as a ratio of sums over images: accuracy, or micro F1."""

    parts: np.ndarray  # float (N,): the numerator of each image
    wholes: np.ndarray  # float (N,): its denominator


def probe_logits(training: Training, train: Pack) -> dict[float, np.ndarray]:
    """Fit a probe on some training images for each candidate of its head.

    Args:
        training: of a model with network `probe`.
        train: images to fit on; their features are in the cache.

    Returns:
        Value of `c` or `k` -> logits (n_validation, n_classes) of validation images.
    """
    config = training.config
    key, candidates = config.candidates()
    logits = {}
    for value in candidates:
        fitted = fit_probe(
            training.network,
            train,
            training.validation,
            config=config._replace(head={**(config.head or {}), key: value}),
            machine=training.machine,
            cache=training.cache,
            title=f"{len(train.labels):,} images",
        )
        logits[value] = fitted.body.logits(training.network, training.validation.images)
    return logits


def cross_fitted_terms(
    logits: Mapping[float, np.ndarray],
    validation: Pack,
    halves: np.ndarray,
    *,
    loss: Mapping[str, Any],
) -> Terms:
    """Score the validation images; what is chosen for one half is chosen on the other half.

    These are the candidate and, with several labels per image, the threshold. So no choice makes
    the score too good.

    Args:
        logits: candidate -> logits (N, n_classes).
        validation: the N images.
        halves: int array (N,): 0 or 1.
        loss: `loss` of the model in params.
    """
    labels, metric = validation.labels, SELECTION_METRIC[validation.task]
    parts, wholes = np.zeros(len(labels)), np.zeros(len(labels))
    for half in (0, 1):
        scored, other = halves == half, halves != half
        ranks = {
            value: rank(score_logits(of[other], labels[other], loss=loss), metric)
            for value, of in logits.items()
        }
        chosen = logits[max(ranks, key=lambda value: ranks[value])]
        if validation.task == "single":
            predicted = chosen[scored].argmax(1)
        else:
            values = probabilities(chosen, temperature=1, task="multi")
            predicted = values[scored] > fit_threshold(values[other], labels[other])
        parts[scored], wholes[scored] = score_terms(predicted, labels[scored])
    return Terms(parts, wholes)


def measure_terms(
    training: Training, *, n_parts: int, sizes: Sequence[int], seeds: Sequence[int], seed: int
) -> dict[int, list[Terms]]:
    """Fit probes on nested subsets of several seeds, and score them.

    Args:
        training: of a model with network `probe`.
        n_parts: number of parts of the training images.
        sizes: numbers of parts to fit on, see `nested_subsets`.
        seeds: seeds of the parts.
        seed: seed of the halves of the validation images.

    Returns:
        Number of training images (the mean over seeds, without augmented variants) -> terms of each
        seed; of all training images one, since seeds make no difference.
    """
    validation = training.validation
    halves = assign_parts(validation, n_parts=2, seed=seed, setting=PARTS_SETTING)
    terms: dict[int, list[Terms]] = {size: [] for size in sizes}
    n_images: dict[int, list[int]] = {size: [] for size in sizes}
    for number, of_seed in enumerate(seeds):
        subsets = nested_subsets(training.train, n_parts=n_parts, sizes=sizes, seed=of_seed)
        for size, subset in subsets.items():
            if number and size == n_parts:
                continue
            logits = probe_logits(training, subset)
            scored = cross_fitted_terms(logits, validation, halves, loss=training.config.loss)
            terms[size].append(scored)
            n_images[size].append(int((subset.variants == 0).sum()))
            score = scored.parts.sum() / scored.wholes.sum()
            log(f"  seed {of_seed}, {n_images[size][-1]:,} images: {score:.4f}")
    return {round(np.mean(n_images[size])): of_size for size, of_size in terms.items()}
