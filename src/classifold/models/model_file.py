"""A trained model as a folder: `weights.safetensors`, `model.json`, what training leaves."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import nn

from classifold.data.json_file import read_json, write_json
from classifold.data.seeding import seed_torch
from classifold.errors import UserError
from classifold.params.schema.section import Pixels
from classifold.params.validation import broken_rules
from classifold.runtime.faults import REMEDY, explain_damage


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    pack_size: Pixels
    resize: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
    image_size: Pixels
    normalize: Literal["imagenet", "half", "none"]


class _Description(BaseModel):
    """What `model.json` must hold at least: it may come from a stranger."""

    model_config = ConfigDict(strict=True, extra="allow")

    network: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # a file of ours, and no path
    arguments: dict[str, Any]
    classes: Annotated[list[str], Field(min_length=1)]
    preprocessing: _Preprocessing
    threads: Annotated[int, Field(ge=1)] | None = None


class Model(NamedTuple):
    """A network with its weights, and how to use it."""

    network: nn.Module  # in evaluation mode
    classes: list[str]
    preprocessing: dict[str, Any]  # pack_size, resize, image_size, normalize
    description: dict[str, Any]  # the whole of model.json


def build_network(
    network: str, *, n_classes: int, image_size: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Build the network of `networks/<network>.py`, in channels_last memory order.

    Raises:
        UserError: if the network refuses its arguments.
    """
    try:
        module = importlib.import_module(f"classifold.networks.{network}")
        built = module.build(n_classes, image_size=image_size, **arguments)
        # Images that are too small show only when one goes through.
        with torch.inference_mode():
            built.eval()(torch.zeros(1, 3, image_size, image_size))
    except UserError:
        raise
    except (
        *(TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError),
        *(LookupError, ImportError),
    ) as error:
        raise UserError(
            f"network {network} cannot be built for images of {image_size} pixels with "
            f"arguments {dict(arguments)}: {error}"
        ) from None
    return built.to(memory_format=torch.channels_last)


def new_network(
    network: str, *, n_classes: int, image_size: int, arguments: Mapping[str, Any], seed: int
) -> nn.Module:
    """Build a network with its first weights, which depend on its own seed alone.

    Raises:
        UserError: if the network refuses its arguments.
    """
    seed_torch(seed, "weights")
    return build_network(network, n_classes=n_classes, image_size=image_size, arguments=arguments)


def save_model(
    folder: Path,
    model: nn.Module,
    *,
    network: str,
    arguments: Mapping[str, Any],
    classes: Sequence[str],
    preprocessing: Mapping[str, Any],
    training: Mapping[str, Any],
) -> None:
    """Write `weights.safetensors` and `model.json` into `folder`.

    Args:
        folder: an existing folder.
        model: the network with its weights.
        network: its file under `networks/`.
        arguments: what it was built with.
        classes: the classes' names in the order of the logits.
        preprocessing: pack_size, resize, image_size, normalize.
        training: precision, threads, versions: what else the weights depend on.
    """
    # A copy in plain memory order: safetensors stores contiguous tensors only.
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    save_file(state, folder / "weights.safetensors")
    write_json(
        folder / "model.json",
        {
            "network": network,
            "arguments": dict(arguments),
            "classes": list(classes),
            "preprocessing": dict(preprocessing),
            **training,
        },
    )


def load_model(folder: Path) -> Model:
    """Read what `save_model` wrote.

    Nothing in the files is run. The weights are compared with the network's shapes before any
    memory is taken for it.

    Raises:
        UserError: if files are missing, damaged, or the weights are of another network.
    """
    path = folder / "weights.safetensors"
    try:
        description = read_json(folder / "model.json")
        with explain_damage(path, kind="a safetensors file"):
            state = load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"the model in {folder} is not whole ({error}); {REMEDY}") from None
    if broken := broken_rules(_Description, description):
        raise UserError(f"{folder}/model.json describes no model of ours ({broken[0]}); {REMEDY}")
    with torch.device("meta"):
        expected = build_network(description["network"], **_structure(description)).state_dict()
    if _shapes(expected) != _shapes(state):
        raise UserError(
            f"{path} must hold the weights of network {description['network']}, but those of "
            f"another; {REMEDY}"
        )
    network = build_network(description["network"], **_structure(description))
    network.load_state_dict(state)
    return _as_model(network, description)


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def untrained(model: Model, *, seed: int) -> Model:
    """Make the model that a training began with; published weights, if it had some, are left out.

    Args:
        model: a trained one.
        seed: of its first weights.
    """
    description = model.description
    network = new_network(description["network"], **_structure(description), seed=seed)
    return _as_model(network, description)


def _structure(description: Mapping[str, Any]) -> dict[str, Any]:
    """What a described network is built with.

    Published weights are not fetched again: every tensor comes from the file, or is random.
    """
    given = description["arguments"].items()
    return {
        "n_classes": len(description["classes"]),
        "image_size": description["preprocessing"]["image_size"],
        "arguments": {name: value for name, value in given if name != "weights"},
    }


def _as_model(network: nn.Module, description: dict[str, Any]) -> Model:
    preprocessing = description["preprocessing"]
    return Model(network.eval(), description["classes"], preprocessing, description)
