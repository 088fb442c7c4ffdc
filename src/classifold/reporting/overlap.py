"""Warn of images that published weights were trained on."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

# Files of ImageNet and of its subsets, such as n02124075_17.JPEG.
IMAGENET_NAME = re.compile(r"n\d{8}(_\d+)+")


def weights_warnings(
    weights: Mapping[str, Mapping[str, Any] | None], image_ids: Iterable[str]
) -> list[str]:
    """Describe how many images belong to the data set that published weights were trained on.

    This is known for images of ImageNet, by the names of their files. Tiny ImageNet is a part of
    ImageNet.

    Args:
        weights: model -> record of `model.json`; None for random weights.
        image_ids: paths of all images.

    Returns:
        A headline and what to do; no line if nothing of this kind is known.
    """
    models = [
        name
        for name, record in weights.items()
        if record is not None and "ImageNet" in (record.get("trained_on") or "")
    ]
    if not models:
        return []
    n_images = sum(bool(IMAGENET_NAME.fullmatch(PurePosixPath(name).stem)) for name in image_ids)
    if not n_images:
        return []
    return [
        "published weights may have been trained on test images",
        f"{n_images:,} files have names of ImageNet, on which the weights of "
        f"{', '.join(models)} were trained",
        "Their scores are optimistically biased: compare only with models from the same weights.",
    ]
