"""The folder of a trained model: `weights.safetensors` and `model.json`."""

import importlib
import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat
from safetensors.torch import load_file
from torch import nn

from classifold.data.format_version import WRITTEN, check_format
from classifold.data.json_file import read_json, write_json
from classifold.data.seeding import seed_torch
from classifold.errors import SettingError, UserError
from classifold.models.decisions import Classes
from classifold.models.publishers import Preprocessing, Publisher
from classifold.models.weights import input_of
from classifold.models.weights_file import save_weights
from classifold.params.schema.section import BlackAndWhite, Pixels
from classifold.params.validation import validation_errors
from classifold.runtime.faults import REMEDY, explain_damage

# Limits for a description of unknown origin, above what any published network has.
MAX_ARGUMENT_VALUES = 1000
MAX_TENSORS = 10_000
MAX_THREADS = 1024

# The numbers that one layer computes for one image; inference runs 64 images at a time, so that
# these are 16 GiB. A small file of weights may describe a network whose layers need any memory.
MAX_ACTIVATIONS = 2**26

MAX_CHARACTERS_SHOWN = 300  # length of arguments in a message


# The types of deep images that a range may be for.
SampleType = Literal[
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float", "any"
]


class _Normalization(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    interpolation: Literal["bilinear", "bicubic"]


class _Preprocessing(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    pack_size: Pixels
    resize: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
    image_size: Pixels
    ranges: dict[SampleType, BlackAndWhite] = {}  # of deep images; empty in older models
    normalize: Literal["imagenet", "half", "none"] | _Normalization


def _check_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    values: list[Any] = [arguments]
    for value in values:  # grows
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
        if len(values) > MAX_ARGUMENT_VALUES:
            raise ValueError(f"must have at most {MAX_ARGUMENT_VALUES:,} values, got more")
    return arguments


class _Description(BaseModel):
    """The required keys of `model.json`, which may be of unknown origin."""

    model_config = ConfigDict(strict=True, extra="allow")

    network: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # a file of `networks`, not a path
    arguments: Annotated[dict[str, Any], AfterValidator(_check_arguments)]
    classes: Classes
    preprocessing: _Preprocessing
    threads: Annotated[int, Field(ge=1, le=MAX_THREADS)]


class Model(NamedTuple):
    """A network with its weights, classes and preprocessing."""

    network: nn.Module  # in evaluation mode
    classes: list[str]
    preprocessing: dict[str, Any]  # pack_size, resize, image_size, normalize, ranges
    description: dict[str, Any]  # the whole of model.json

    def use_threads(self) -> None:
        """Let torch use as many threads as in training: last bits of sums depend on it."""
        torch.set_num_threads(self.description["threads"])


def build_network(
    network: str, *, n_classes: int, image_size: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Build the network of `networks/<network>.py`, in channels_last memory order.

    Raises:
        UserError: if the network does not accept its arguments.
    """
    try:
        module = importlib.import_module(f"classifold.networks.{network}")
        with _bounded_tensors():
            built = module.build(n_classes, image_size=image_size, **arguments)
        # Only a forward pass shows whether images are too small.
        with torch.inference_mode():
            built.eval()(torch.zeros(1, 3, image_size, image_size))
    except UserError:
        raise
    except (
        *(TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError),
        *(LookupError, ImportError, AttributeError),
    ) as error:
        shown, reason = (
            textwrap.shorten(str(value), MAX_CHARACTERS_SHOWN, placeholder=" …")
            for value in (dict(arguments), error)
        )
        raise SettingError(
            f"network: {network} cannot be built for images of {image_size} pixels with the "
            f"arguments {shown} ({reason}). Change arguments, image_size or augment.size."
        ) from None
    return built.to(memory_format=torch.channels_last)


@contextmanager
def _bounded_tensors() -> Iterator[None]:
    """Stop a network with too many layers before it has taken minutes to build."""
    n_tensors = 0

    def count(*_: Any) -> None:
        nonlocal n_tensors
        n_tensors += 1
        if n_tensors > MAX_TENSORS:
            raise ValueError(f"more than {MAX_TENSORS:,} tensors of weights")

    hook = nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _bounded_activations() -> Iterator[None]:
    """Stop a forward pass of one image when a layer's output is too large."""

    def check(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.numel() > MAX_ACTIVATIONS:
            raise ValueError(f"a layer computes more than {MAX_ACTIVATIONS:,} numbers per image")

    hook = nn.modules.module.register_module_forward_hook(check)
    try:
        yield
    finally:
        hook.remove()


def new_network(
    network: str, *, n_classes: int, image_size: int, arguments: Mapping[str, Any], seed: int
) -> nn.Module:
    """Build a network with its initial weights, which depend only on `seed`.

    Raises:
        UserError: if the network does not accept its arguments.
    """
    seed_torch(seed, "weights")
    return build_network(network, n_classes=n_classes, image_size=image_size, arguments=arguments)


def publisher_of(network: str, arguments: Mapping[str, Any]) -> Publisher | None:
    """Return who publishes weights of a network; None if nobody does.

    Raises:
        UserError: if the network does not accept its arguments.
    """
    module = importlib.import_module(f"classifold.networks.{network}")
    return module.publisher(**arguments) if hasattr(module, "publisher") else None


def pretrained_input(network: str, arguments: Mapping[str, Any]) -> Preprocessing:
    """Return the input that the weights of a network were trained for.

    Raises:
        UserError: if it has random weights, or nothing is known of its weights.
    """
    weights = arguments.get("weights")
    if weights is None:
        raise SettingError(
            "normalize: pretrained needs arguments.weights, got random weights. Set weights, or "
            "normalize to imagenet, half or none."
        )
    return input_of(weights, publisher=publisher_of(network, arguments))


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
        network: name of its file in `networks/`.
        arguments: arguments of its `build` function.
        classes: names of the classes, in the order of the logits.
        preprocessing: pack_size, resize, image_size, normalize, ranges (of deep images).
        training: what else the weights depend on, such as precision, threads, versions.
    """
    save_weights(folder / "weights.safetensors", model)
    write_json(
        folder / "model.json",
        {
            **WRITTEN,
            "network": network,
            "arguments": {**arguments, **getattr(model, "arguments", {})},
            "classes": list(classes),
            "preprocessing": dict(preprocessing),
            "weights": getattr(model, "weights", None),
            **training,
        },
    )


def load_model(folder: Path) -> Model:
    """Read the model that `save_model` wrote.

    No code in the files is run. Weights are compared with the network's shapes before memory is
    allocated for the network.

    Raises:
        UserError: if files are missing, damaged or of another format, the weights are of another
            network or not finite, or the model needs too much time or memory.
    """
    path = folder / "weights.safetensors"
    try:
        description = read_json(folder / "model.json")
        state = read_weights(path)
    except FileNotFoundError as error:
        raise UserError(f"{folder}: the model is incomplete ({error}); {REMEDY}") from None
    if isinstance(description, dict):
        check_format(folder / "model.json", description)
    if broken := validation_errors(_Description, description):
        raise UserError(f"{folder}/model.json: not a valid description ({broken[0]}); {REMEDY}")
    try:
        with torch.device("meta"), _bounded_activations():
            expected = build_network(description["network"], **_structure(description)).state_dict()
    except UserError as error:
        raise UserError(f"{folder}/model.json: {error}") from None
    if _shapes(expected) != _shapes(state):
        raise UserError(
            f"{path}: must hold the weights of network {description['network']}, got those of "
            f"another network; {REMEDY}"
        )
    network = build_network(description["network"], **_structure(description))
    load_finite(network, state, path=path)
    return _as_model(network, description)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of weights.

    Raises:
        UserError: if it is damaged, a pipe or a device, or too large for the memory.
    """
    with explain_damage(path, kind="a safetensors file"):
        _refuse_too_large(path)
        return load_file(path)


def load_finite(network: nn.Module, state: Mapping[str, torch.Tensor], *, path: Path) -> None:
    """Load weights that were read from a path into a network.

    Raises:
        UserError: if one is NaN or infinite.
        RuntimeError: if they are of another network.
    """
    infinite = _infinite(network)  # a mask of attention, for example
    network.load_state_dict(state)
    if spoiled := _infinite(network) - infinite:
        raise UserError(
            f"{path}: must hold finite numbers, got NaN or infinity in {min(spoiled)}; {REMEDY}"
        )


def _infinite(network: nn.Module) -> set[str]:
    """Name the tensors that have NaN or infinity."""
    state = network.state_dict()
    return {name for name, tensor in state.items() if not torch.isfinite(tensor).all()}


def _refuse_too_large(path: Path) -> None:
    """Refuse a file of weights that would not fit into the memory beside the network."""
    if not hasattr(os, "sysconf"):
        return
    max_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if path.stat().st_size > max_bytes:
        raise UserError(
            f"{path}: must have at most half of this machine's memory, {max_bytes:,} bytes, got "
            f"{path.stat().st_size:,}. Use a machine with more memory."
        )


def _shapes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def untrained(model: Model, *, seed: int) -> Model:
    """Make a model with new initial weights, without published weights.

    Args:
        model: the trained model.
        seed: seed of the initial weights.
    """
    description = model.description
    network = new_network(description["network"], **_structure(description), seed=seed)
    return _as_model(network, description)


def _structure(description: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `build_network` for a description.

    Published weights are not loaded again: all tensors are from the file, or random.
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
