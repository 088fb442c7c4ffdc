"""Choose test images, and explain the predictions for them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.analysis.explain.boxes import Box, inside
from classifold.analysis.explain.convolutions import Convolution, find_convolutions
from classifold.analysis.explain.saliency import Maps, explain_class
from classifold.models.model_file import Model
from classifold.models.preprocessing import to_input
from classifold.runtime.progress import track


class Explanation(NamedTuple):
    """A test image, its prediction, and the maps that explain the prediction."""

    prediction: Mapping[str, Any]  # a row of predictions.parquet
    pixels: np.ndarray  # uint8 (size, size, 3)
    maps: Maps
    convolutions: list[Convolution]
    boxes: list[Box]  # none where the data have none


def choose_images(predictions: Sequence[Mapping[str, Any]], *, n_images: int) -> list[dict]:
    """Choose the most confident mistakes for one half, and correct predictions for the other.

    Correct predictions are taken from one class after another (with several labels per image the
    most probable predicted class), the most confident of each class first. If there are fewer
    mistakes than half, there are more correct predictions, and vice versa. Several labels are
    correct if all of them are.

    Args:
        predictions: rows of predictions.parquet of one model.
        n_images: number of images; fewer if there are fewer.
    """
    ordered = sorted(predictions, key=lambda row: (-row["probability"], row["id"]))
    mistakes = [dict(row) for row in ordered if row["predicted"] != row["label"]]
    by_class: dict[str, list[dict]] = defaultdict(list)
    for row in ordered:
        if row["predicted"] == row["label"]:
            by_class[row["top_class"]].append(dict(row))
    queues = [by_class[name] for name in sorted(by_class)]
    max_length = max((len(queue) for queue in queues), default=0)
    correct = [queue[i] for i in range(max_length) for queue in queues if i < len(queue)]
    n_mistakes = min(len(mistakes), max(n_images // 2, n_images - len(correct)))
    return [*mistakes[:n_mistakes], *correct[: n_images - n_mistakes]]


def explain_images(
    model: Model,
    predictions: Sequence[Mapping[str, Any]],
    pixels: np.ndarray,
    *,
    boxes: Mapping[str, list[Box]],
    device: torch.device,
    attribution: Mapping[str, Any],
) -> list[Explanation]:
    """Explain a model's predictions, each by the map of its most probable class.

    Args:
        model: that made the predictions.
        predictions: the chosen rows.
        pixels: uint8 array (N, size, size, 3), as stored for the model.
        boxes: id -> bounding boxes, for images that have some.
        device: where to compute.
        attribution: settings of `explain_class`.
    """
    network = model.network.to(device)
    settings = model.preprocessing
    explanations = []
    pairs = zip(predictions, pixels, strict=True)
    for row, image in track(pairs, task="explain", total=len(predictions), unit="images"):
        inputs = to_input(
            image[None],
            image_size=settings["image_size"],
            normalize=settings["normalize"],
            device=device,
        )
        position = model.classes.index(row["top_class"])
        explanations.append(
            Explanation(
                row,
                image,
                explain_class(network, inputs, position, **attribution),
                find_convolutions(network, inputs),
                boxes.get(row["id"], []),
            )
        )
    return explanations


def explanation_metrics(explanations: Sequence[Explanation], *, model: str) -> dict[str, Any]:
    """Collect `metrics/explain.json`.

    `saliency_in_tenth` is the mean fraction of smoothed saliency in the brightest tenth of pixels:
    0.1 if it is spread evenly, near 1 if a prediction depends on a few pixels. For images with
    bounding boxes `saliency_in_boxes` is the mean fraction of smoothed saliency inside of them, to
    be compared with `boxes_area`, the mean fraction of the image that the boxes cover.
    """
    rows = [explanation.prediction for explanation in explanations]
    n_correct = sum(row["predicted"] == row["label"] for row in rows)
    tenths = [_fraction_in_tenth(explanation.maps.smoothed) for explanation in explanations]
    return {
        "model": model,
        "n_images": len(rows),
        "n_correct": n_correct,
        "n_incorrect": len(rows) - n_correct,
        "saliency_in_tenth": float(np.mean(tenths)) if tenths else None,
        **_in_boxes(explanations),
    }


def _in_boxes(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """The fraction of smoothed saliency inside of bounding boxes, where there are some."""
    fractions, areas = [], []
    for explanation in explanations:
        if explanation.boxes:
            strength = explanation.maps.smoothed
            covered = inside(explanation.boxes, (strength.shape[0], strength.shape[1]))
            fractions.append(strength[covered].sum() / max(strength.sum(), 1e-12))
            areas.append(covered.mean())
    if not fractions:
        return {"n_with_boxes": 0}
    return {
        "n_with_boxes": len(fractions),
        "saliency_in_boxes": float(np.mean(fractions)),
        "boxes_area": float(np.mean(areas)),
    }


def _fraction_in_tenth(strength: np.ndarray) -> float:
    values = np.sort(strength, axis=None)[::-1]
    return float(values[: max(1, round(values.size / 10))].sum() / max(values.sum(), 1e-12))
