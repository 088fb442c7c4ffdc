"""Save and load a trained generator (`weights.safetensors`, `generator.json`) and its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from classifold.data.json_file import read_json, write_json
from classifold.data.pack import Pack, new_pack
from classifold.errors import UserError
from classifold.gan.generator import Generator
from classifold.models.model_file import load_finite, read_weights
from classifold.models.weights_file import save_weights


class TrainedGenerator(NamedTuple):
    """A generator with its weights, in evaluation mode, and the content of `generator.json`."""

    network: Generator
    description: dict[str, Any]


def save_generator(
    folder: Path,
    generator: Generator,
    *,
    arguments: Mapping[str, Any],
    classes: list[str],
    training: Mapping[str, Any],
) -> None:
    """Write both files into an existing folder.

    Args:
        folder: an existing folder.
        generator: with its weights.
        arguments: arguments of the generator: noise, embedding, widths.
        classes: in the order of their numbers; empty for an unconditional generator.
        training: other settings that the weights depend on.
    """
    save_weights(folder / "weights.safetensors", generator)
    write_json(
        folder / "generator.json",
        {
            "arguments": dict(arguments),
            "image_size": generator.image_size,
            "classes": classes,
            **training,
            "versions": {"torch": torch.__version__},
        },
    )


def load_generator(folder: Path) -> TrainedGenerator:
    """Load a generator that `save_generator` saved.

    Raises:
        UserError: if files are missing, damaged or no plain files, if weights are not finite, or if
            weights and arguments do not match.
    """
    path = folder / "weights.safetensors"
    try:
        description = read_json(folder / "generator.json")
        state = read_weights(path)
        network = Generator(
            len(description["classes"]),
            image_size=description["image_size"],
            **description["arguments"],
        )
        load_finite(network, state, path=path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{folder}: cannot be read as a generator ({error}). Train it again with "
            "'python studies/gan/train_gan.py'."
        ) from None
    network.to(memory_format=torch.channels_last)
    return TrainedGenerator(network.eval(), description)


def save_images(folder: Path, generated: Pack) -> None:
    """Save generated images as a pack."""
    n_images, size = len(generated.labels), generated.size
    with new_pack(
        folder, n_images=n_images, size=size, resize=generated.resize, classes=generated.classes
    ) as pack:
        pack.put(0, list(generated.images))
        for image_id, label in zip(generated.ids, generated.labels, strict=True):
            pack.describe(
                image_id=image_id,
                variant=0,
                transformation="generated",
                labels=[generated.classes[label]],
            )
