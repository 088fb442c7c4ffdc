"""Prepare a training run from params and packs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from classifold.data.model_settings import with_defaults
from classifold.data.pack import Pack, read_pack
from classifold.models.device import choose_device, choose_precision
from classifold.models.feature_cache import FeatureCache
from classifold.models.model_file import new_network
from classifold.training.config import TrainingConfig
from classifold.training.machine import Machine, set_up
from classifold.training.try_model import try_sizes


class Training(NamedTuple):
    """A network with its initial weights, on its device, and all that it is trained with."""

    network: nn.Module
    train: Pack
    validation: Pack
    config: TrainingConfig
    machine: Machine
    precision: str
    cache: FeatureCache
    settings: Mapping[str, Any]  # `train` of params
    model: Mapping[str, Any]  # its entry of `models` in params
    calibration: Pack | None = None  # nothing is chosen on it

    def params(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Return the params that the weights depend on, for `training_key`.

        Args:
            policy: policy of online augmentation.
        """
        return {
            "train": self.settings,
            "model": self.model,
            "policy": policy,
            "precision": self.precision,
        }


def prepare(
    settings: Mapping[str, Any],
    model: Mapping[str, Any],
    *,
    packs: Path,
    root: Path = Path(),
) -> Training:
    """Read the packs and build the network, whose initial weights depend only on its seed.

    Args:
        settings: `train` of params.
        model: one of `models` of params; its image size and loss are by default those of the packs.
        packs: folder of the packs `train`, `validation` and, if there is one, `calibration`.
        root: root folder of the project, where features of frozen bodies are kept.

    Raises:
        UserError: if the device is not available, or the network does not accept its arguments.
    """
    # Sums of floats, and so weights, depend on the number of threads.
    torch.set_num_threads(settings["threads"])
    device = choose_device(settings["device"])
    precision = choose_precision(settings["precision"], device)
    machine = set_up(device=device, precision=precision, compile=settings["compile"])
    train = read_pack(packs / "train")
    complete = with_defaults(model, size=train.size, task=train.task)
    network = new_network(
        complete["network"],
        n_classes=len(train.classes),
        image_size=complete["image_size"],
        arguments=complete["arguments"],
        seed=complete["seed"],
    )
    config = TrainingConfig.of(complete)
    try_sizes(network, config, name=complete["network"])
    return Training(
        network.to(machine.device),
        train,
        read_pack(packs / "validation"),
        config,
        machine,
        precision,
        FeatureCache.of_project(root),
        settings,
        model,
        read_pack(packs / "calibration") if (packs / "calibration").is_dir() else None,
    )
