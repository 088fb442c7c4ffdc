"""Corrupt and attack test images, and let all models predict them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from classifold.analysis.robustness.conditions import Corrupted, Predicted
from classifold.analysis.robustness.corruptions import list_corruptions
from classifold.analysis.robustness.picture import draw_corruptions
from classifold.analysis.robustness.predictions import predict_attacked, predict_corrupted
from classifold.evaluation.inference import predict_all, read_pixels
from classifold.evaluation.labels import LabeledImages
from classifold.models.device import choose_device


class Measured(NamedTuple):
    """What all models predict for changed images, and the size of the images in pixels."""

    corrupted: Corrupted
    attacked: dict[str, Predicted]  # model -> its predictions
    image_size: int | None  # None without images


def measure(
    images: LabeledImages,
    picture: Path,
    *,
    ingested: Path,
    models: Path,
    ensemble: Path,
    decisions: Mapping[str, Any],
    settings: Mapping[str, Any],
    device: str,
    test_time: Mapping[str, Any],
) -> Measured:
    """Run all models on corrupted and attacked images, and draw the first image.

    Args:
        images: at least one image.
        picture: PNG file to write.
        ingested: folder of the image table.
        models: see `predict_all`, as for the next two.
        ensemble: see there.
        decisions: see there.
        settings: section `robustness` of params.
        device: see `choose_device`.
        test_time: see `predict_all`.
    """
    pixels = read_pixels(
        images.ids, ingested=ingested, model=models / next(iter(decisions["models"]))
    )
    chosen: dict[str, Any] = {
        "corruptions": list_corruptions(settings["corruptions"]),
        "severities": sorted(settings["severities"]),
        "seed": settings["seed"],
    }
    draw_corruptions(picture, images, pixels, **chosen)
    classifiers: dict[str, Any] = {
        "models": models,
        "ensemble": ensemble,
        "decisions": decisions,
        "device": choose_device(device),
        "test_time": test_time,
    }
    predict = partial(predict_all, **classifiers)
    corrupted = predict_corrupted(images, pixels, predict=predict, **chosen)
    attacked = predict_attacked(images, pixels, settings=settings["adversarial"], **classifiers)
    return Measured(corrupted, attacked, pixels.shape[1])
