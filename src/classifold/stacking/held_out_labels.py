"""Probabilities of training images by models that were fitted without them, with their labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.models.decisions import probabilities
from classifold.stacking.comparison import OUT_OF_FOLD
from classifold.stacking.member_logits import MemberLogits, read_member_logits
from classifold.stacking.stack import Stack


class HeldOut(NamedTuple):
    """Row i of each is image i."""

    models: list[str]  # what computed the probabilities: the stack, or probes
    ids: list[str]
    labels: np.ndarray  # int64 (N,), or 0 and 1 in (N, n_classes)
    probabilities: np.ndarray  # float64 (N, n_classes)


def of_stack(stack: Stack, train: MemberLogits, *, name: str, task: str) -> HeldOut:
    """Take what the members of a stack predict out of fold, combined by cross-fitting.

    Args:
        stack: that was fitted on training images.
        train: these images.
        name: name of the stack.
        task: `single` or `multi`.
    """
    temperature = stack.decision["temperature"]
    scaled = probabilities(stack.out_of_fold, temperature=temperature, task=task)
    return HeldOut([name], train.ids, train.labels, scaled)


def of_probes(compared: Path, decisions: Mapping[str, Any]) -> HeldOut | None:
    """Average the probabilities of all probes, each of heads fitted without the image.

    Images of a class that such a head does not know are not included.

    Args:
        compared: the output folder of `compare`.
        decisions: what it fitted: task, and temperatures of the models.

    Returns:
        None if there is no probe.

    Raises:
        UserError: if the files are of different images.
    """
    files = {
        name: file
        for name in decisions["models"]
        if (file := compared / OUT_OF_FOLD / f"{name}.npz").is_file()
    }
    if not files:
        return None
    images = read_member_logits(files)
    scaled = [
        probabilities(
            logits,
            temperature=decisions["models"][name]["temperature"],
            task=decisions["task"],
        )
        for name, logits in images.logits.items()
    ]
    mean = np.mean(scaled, axis=0)
    rows = np.flatnonzero(np.isfinite(mean).all(axis=1))
    return HeldOut(list(files), [images.ids[i] for i in rows], images.labels[rows], mean[rows])
