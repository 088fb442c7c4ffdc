"""Check that a model of params can be built, before anything is computed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from classifold.errors import SettingError, UserError, in_section
from classifold.models.model_file import build_network, publisher_of
from classifold.models.preprocessing import Normalization
from classifold.models.weights import check_weights, input_of
from classifold.training.config import TrainingConfig
from classifold.training.freezing import parameters_under, set_trainable

# Of the recommended size; networks lose little accuracy above.
MIN_SCALE = 0.7

# Of augment.size: models may share a pack of the largest size, so a little less is no mistake.
MIN_FRACTION_OF_PACK = 0.7


def try_model(name: str, model: Mapping[str, Any]) -> None:
    """Build a model's network without data (torch's meta device), which costs hardly any time.

    Args:
        name: name of the model, for the message.
        model: its section of params, valid by the schema and completed by `with_defaults`.

    Raises:
        UserError: if the network does not accept its arguments or sizes, a phase names layers that
            do not exist, or a file of weights has a different sha256.
    """
    arguments = dict(model["arguments"])
    weights = arguments.pop("weights", None)
    try:
        if weights is not None:
            publisher = publisher_of(model["network"], arguments)
            check_weights(weights, publisher=publisher, name=arguments.get("name", ""))
        config = TrainingConfig.of(model)
        with torch.device("meta"):
            network = build_network(
                model["network"],
                n_classes=2,
                image_size=model["image_size"],
                arguments=arguments,
            )
            try_sizes(network, config, name=model["network"])
        for phase, settings in model.get("phases", {}).items():
            with in_section(f"phases.{phase}"):
                set_trainable(network, settings["trainable"])
                for prefix in settings["optimizer"].get("lr_factors") or {}:
                    parameters_under(network, prefix, setting="optimizer.lr_factors")
    except SettingError as error:
        raise SettingError(f"models.{name}.{error}") from None
    except UserError as error:
        raise UserError(f"models.{name}: {error}") from None


def describe_scaling(model: Mapping[str, Any], *, size: int) -> Iterator[str]:
    """Describe where a model enlarges or reduces the packed images, a line for each setting.

    Args:
        model: its section of params, completed by `with_defaults`.
        size: width and height of the packed images, `augment.size`.
    """
    if model["normalize"] == "pretrained" or "head" in model:
        return  # the sizes of objects matter, not those of pixels
    image_size = model["image_size"]
    train_size = int(np.max(model.get("train_size") or 0))
    if image_size < MIN_FRACTION_OF_PACK * size:  # a smaller train_size is a method of its own
        yield (
            f"image_size: reduces the images of augment.size, {size} pixels, to {image_size}. "
            "Remove image_size to use all pixels"
        )
    for key, pixels in {"image_size": image_size, "train_size": train_size}.items():
        if pixels > size:
            yield (
                f"{key}: enlarges the images of augment.size, {size} pixels, to {pixels}, which "
                f"adds no detail. Raise augment.size, or remove {key}"
            )


def describe_weights_mismatch(model: Mapping[str, Any]) -> Iterator[str]:
    """Describe where a model's params differ from the input its pretrained weights expect.

    Args:
        model: its section of params, which `try_model` accepted.
    """
    weights = model["arguments"].get("weights")
    publisher = publisher_of(model["network"], model["arguments"])
    if weights is None and publisher is not None and "head" in model:
        yield (
            "arguments.weights: the frozen network of a probe has random weights, got null. Set "
            "pretrained, a tag, a file or a package"
        )
    if weights is None or publisher is None or not publisher.tags():
        return
    expected = input_of(weights, publisher=publisher)
    given = Normalization.of(TrainingConfig.of(model).normalize)
    if (tuple(given.mean), tuple(given.std)) != (expected.mean, expected.std):
        yield (
            f"normalize: the weights were trained with mean {expected.mean} and standard deviation "
            f"{expected.std}, got {model['normalize']}. Set normalize: pretrained"
        )
    if model["image_size"] < MIN_SCALE * expected.image_size:
        yield (
            f"image_size: the weights were trained on {expected.image_size} pixels, got "
            f"{model['image_size']}. Larger images usually give a higher accuracy"
        )


def try_sizes(network: nn.Module, config: TrainingConfig, *, name: str) -> None:
    """Check that a network accepts training images of other sizes than its own.

    Args:
        network: on any device, meta included.
        config: has the sizes.
        name: name of the network, for the message.

    Raises:
        UserError: if it does not.
    """
    for size in sorted({*config.training_sizes()} - {config.image_size}):
        try:
            with torch.inference_mode():
                network.eval()(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise SettingError(
                f"train_size: the network {name} accepts only images of its image_size, got "
                f"{size} ({error}). Remove train_size, or choose a network that accepts images of "
                "any size."
            ) from None
