"""What policies of online augmentation make of images: for the page, and as a page of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.augmentation.online.batches import augment_rows, epoch_draws
from classifold.reporting.environment import inlined, page_environment
from classifold.reporting.pictures import Picture, pixels_to_uri


def augmented_pictures(
    images: np.ndarray, policy: Mapping[str, Any], *, names: Sequence[str], seed: int, epoch: int
) -> list[Picture]:
    """Augment images as training would in an epoch; they are mixed among themselves.

    Args:
        images: uint8 array (N, size, size, 3).
        policy: steps, and how borders are filled.
        names: of the images, for those who cannot see them.
        seed: of the draws.
        epoch: of the draws.
    """
    n_images, size = images.shape[:2]
    draws = epoch_draws(policy, n_images=n_images, seed=seed, epoch=epoch)
    rows = np.arange(n_images)
    pixels, _ = augment_rows(images, rows, rows, draws, policy=policy, size=size)
    return [
        Picture(pixels_to_uri(picture), f"{name}, augmented", [name])
        for picture, name in zip(pixels, names, strict=True)
    ]


def steps_in_words(policy: Mapping[str, Any]) -> str:
    """Name the steps of a policy with their settings, as `params.yaml` has them."""
    steps = [f"{name} {_plain(value)}" for step in policy["steps"] for name, value in step.items()]
    return ", ".join(steps) or "nothing is done"


def write_gallery(
    path: Path,
    images: np.ndarray,
    policy: Mapping[str, Any],
    *,
    policy_name: str,
    names: Sequence[str],
    n_draws: int,
    seed: int,
) -> None:
    """Write a page that shows each image as it is, and as several epochs would see it.

    Args:
        path: of the HTML file.
        images: uint8 array (N, size, size, 3).
        policy: steps, and how borders are filled.
        policy_name: its name.
        names: of the images.
        n_draws: epochs shown.
        seed: of the draws.
    """
    epochs = [
        augmented_pictures(images, policy, names=names, seed=seed, epoch=epoch)
        for epoch in range(1, n_draws + 1)
    ]
    rows = [
        {
            "name": name,
            "original": pixels_to_uri(image),
            "augmented": [pictures[i].uri for pictures in epochs],
        }
        for i, (image, name) in enumerate(zip(images, names, strict=True))
    ]
    text = (
        page_environment()
        .get_template("augmentations.html")
        .render(
            policy_name=policy_name,
            steps=steps_in_words(policy),
            fill=policy["fill"],
            rows=rows,
            style=inlined("style.css"),
        )
    )
    path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return f"[{', '.join(f'{number:g}' for number in value)}]"
    return "" if value is True else str(value)
