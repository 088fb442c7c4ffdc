"""From params and packs to what a training needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from classifold.device import choose_device, choose_precision, set_threads
from classifold.errors import UserError
from classifold.model_file import build_network, new_network
from classifold.pack import Pack, read_pack
from classifold.training.epochs import Recipe
from classifold.training.freezing import parameters_under, set_trainable
from classifold.training.machine import Machine, set_up
from classifold.weights_file import read_weights


class Training(NamedTuple):
    """A network with its first weights, on its device, and what it is trained with."""

    network: nn.Module
    train: Pack
    validation: Pack
    recipe: Recipe
    machine: Machine
    precision: str


def prepare(settings: Mapping[str, Any], model: Mapping[str, Any], *, packs: Path) -> Training:
    """Read the packs and make the network; its first weights depend on its own seed alone.

    Args:
        settings: `train` of params.
        model: one of `models` of params.
        packs: folder of the packs `train` and `validation`.

    Raises:
        UserError: if the machine does not offer the device, or the network refuses its arguments.
    """
    set_threads(settings["threads"])
    device = choose_device(settings["device"])
    precision = choose_precision(settings["precision"], device)
    machine = set_up(device=device, precision=precision, compile=settings["compile"])
    train = read_pack(packs / "train")
    network = new_network(
        model["network"],
        n_classes=len(train.classes),
        image_size=model["image_size"],
        arguments=model["arguments"],
        seed=model["seed"],
    )
    if model.get("train_size"):
        _try_size(network, model["train_size"], name=model["network"])
    return Training(
        network.to(machine.device),
        train,
        read_pack(packs / "validation"),
        Recipe.of(model),
        machine,
        precision,
    )


def try_model(name: str, model: Mapping[str, Any]) -> None:
    """Build a model's network as shapes alone, which takes no memory and hardly any time.

    Args:
        name: of the model, for the message.
        model: its section of params, which obeys the schema.

    Raises:
        UserError: if the network refuses its arguments or sizes, a phase names layers that it has
            not, or a file of weights is not the one that is named.
    """
    arguments = dict(model["arguments"])
    weights = arguments.pop("weights", None)
    try:
        if isinstance(weights, Mapping):
            read_weights(Path(weights.get("file", "")), weights.get("sha256", ""))
        with torch.device("meta"):
            network = build_network(
                model["network"],
                n_classes=2,
                image_size=model["image_size"],
                arguments=arguments,
            )
            if model.get("train_size"):
                _try_size(network, model["train_size"], name=model["network"])
        for phase in model["phases"].values():
            set_trainable(network, phase["trainable"])
            for start in phase["optimizer"].get("lr_factors") or {}:
                parameters_under(network, start)
    except UserError as error:
        raise UserError(f"models.{name}: {error}") from None


def _try_size(network: nn.Module, train_size: int, *, name: str) -> None:
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, train_size, train_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"network {name} takes images of its image_size alone, got train_size {train_size}; "
            f"leave train_size out, or take a network that averages over any size ({error})"
        ) from None
