"""The description of a training run for `model.json`, and its metrics."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
import torchvision
from torch import nn

from classifold.data.pack import Pack
from classifold.training.freezing import count_parameters
from classifold.training.loop import Fitted
from classifold.training.losses import one_hot
from classifold.training.scores import Score


def describe_training(
    originals: Pack,
    *,
    loss: Mapping[str, Any],
    precision: str,
    threads: int,
    processes: Sequence[int],
    max_epochs: int | None,
) -> dict[str, Any]:
    """Describe what the weights depend on beside the network's arguments.

    Args:
        originals: the training images without augmented variants.
        loss: loss of the training run.
        precision: precision of the training run.
        threads: threads of each process.
        processes: number of processes that trained together, for each epoch.
        max_epochs: `limit.epochs` of params; None without a limit.
    """
    counts = one_hot(originals.labels, len(originals.classes)).sum(0)
    return {
        "task": originals.task,
        "loss": dict(loss),
        "precision": precision,
        "threads": threads,
        "processes": [number for number, _ in groupby(processes)],  # one after another
        "max_epochs": max_epochs,
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "n_train_images": len(originals.labels),
        "train_images_per_class": {
            name: int(n_images) for name, n_images in zip(originals.classes, counts, strict=True)
        },
    }


def training_metrics(
    network: nn.Module, fitted: Fitted, *, train: Score, validation: Score
) -> dict[str, Any]:
    """Collect `metrics/train/<name>.json`.

    Args:
        network: with the restored weights.
        fitted: the result of the training run.
        train: score of the restored weights on original training images.
        validation: score of the restored weights on validation images.
    """
    last = fitted.phases[max(fitted.phases)]
    several = {} if train.micro_f1 is None else {"train_micro_f1": train.micro_f1}
    return {
        "train_accuracy": train.accuracy,
        **several,
        **{
            f"validation_{name}": value
            for name, value in validation._asdict().items()
            if value is not None
        },
        "accuracy_gap": train.accuracy - validation.accuracy,
        "best_epoch": fitted.best_epoch,
        "n_epochs": len(fitted.history),
        "n_parameters": count_parameters(network),
        "n_trainable_parameters": last["n_trainable_parameters"],
        "phases": fitted.phases,
    }
