"""What is told of a training: the facts beside its weights, and its metrics."""

from collections import Counter
from typing import Any

import torch
import torchvision
from torch import nn

from classifold.pack import Pack
from classifold.training.freezing import count_parameters
from classifold.training.loop import Fitted, Score


def describe_training(originals: Pack, *, precision: str, threads: int) -> dict[str, Any]:
    """Tell what the weights depend on beside parameters and data.

    Args:
        originals: the training images without copies.
        precision: that was used.
        threads: that were used.
    """
    counts = Counter(originals.labels.tolist())
    return {
        "precision": precision,
        "threads": threads,
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "train_images_per_class": {
            name: counts[position] for position, name in enumerate(originals.classes)
        },
    }


def training_metrics(
    network: nn.Module, fitted: Fitted, *, train: Score, validation: Score
) -> dict[str, Any]:
    """Collect `metrics/train/<name>.json`.

    Args:
        network: with the restored weights.
        fitted: how it went.
        train: score of the restored weights on original training images.
        validation: score of the restored weights on validation images.
    """
    last = fitted.phases[max(fitted.phases)]
    return {
        "train_accuracy": train.accuracy,
        "validation_accuracy": validation.accuracy,
        "validation_loss": validation.loss,
        "accuracy_gap": train.accuracy - validation.accuracy,
        "best_epoch": fitted.best_epoch,
        "n_epochs": len(fitted.history),
        "n_parameters": count_parameters(network),
        "n_trainable_parameters": last["n_trainable_parameters"],
        "phases": fitted.phases,
    }
