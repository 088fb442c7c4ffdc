"""Examples of on-the-fly augmentation, for the report and as a page of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.augmentation.online.batches import augment_rows, epoch_draws
from classifold.reporting.environment import render
from classifold.reporting.pictures import Picture, pixels_to_uri


def augmented_pictures(
    images: np.ndarray, policy: Mapping[str, Any], *, names: Sequence[str], seed: int, epoch: int
) -> list[Picture]:
    """Augment images as training does in one epoch; mixing steps mix these images only.

    Args:
        images: uint8 array (N, size, size, 3).
        policy: steps, and how borders are filled, see `policies` in params.yaml.
        names: names of the images, for their captions.
        seed: seed of the random transformations.
        epoch: epoch of the random transformations.
    """
    n_images, size = images.shape[:2]
    draws = epoch_draws(policy, n_images=n_images, seed=seed, epoch=epoch)
    rows = np.arange(n_images)
    pixels, _ = augment_rows(images, rows, rows, draws, policy=policy, size=size)
    return [
        Picture(pixels_to_uri(picture), f"{name}, augmented", [name])
        for picture, name in zip(pixels, names, strict=True)
    ]


def format_steps(policy: Mapping[str, Any]) -> str:
    """Format the steps of a policy with their settings, as in params.yaml."""
    steps = [
        f"{name} {_format_value(value)}" for step in policy["steps"] for name, value in step.items()
    ]
    return ", ".join(steps) or "no augmentation"


def write_gallery(
    path: Path,
    images: np.ndarray,
    policy: Mapping[str, Any],
    *,
    policy_name: str,
    names: Sequence[str],
    n_epochs: int,
    seed: int,
) -> None:
    """Write a page with each image, and its augmented versions in several epochs.

    Args:
        path: HTML file to write.
        images: uint8 array (N, size, size, 3).
        policy: steps, and how borders are filled, see `policies` in params.yaml.
        policy_name: its name.
        names: names of the images.
        n_epochs: number of epochs shown.
        seed: seed of the random transformations.
    """
    epochs = [
        augmented_pictures(images, policy, names=names, seed=seed, epoch=epoch)
        for epoch in range(1, n_epochs + 1)
    ]
    rows = [
        {
            "name": name,
            "original": pixels_to_uri(image),
            "augmented": [pictures[i].uri for pictures in epochs],
        }
        for i, (image, name) in enumerate(zip(images, names, strict=True))
    ]
    page = render(
        "augmentations.html",
        policy_name=policy_name,
        steps=format_steps(policy),
        fill=policy["fill"],
        rows=rows,
    )
    path.write_text(page, encoding="utf-8")


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_format_value(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return f"[{', '.join(f'{number:g}' for number in value)}]"
    return "" if value is True else str(value)
