"""Choose test images, explain the answers to them, and draw it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch

from classifold.analysis.explain.boxes import Box, inside
from classifold.analysis.explain.layers import (
    Convolution,
    convolutions,
    draw_activations,
    draw_filters,
)
from classifold.analysis.explain.saliency import Maps, explain_answer
from classifold.data.image_table import LABEL_SEPARATOR
from classifold.models.model_file import Model
from classifold.models.preprocessing import to_input
from classifold.pictures.glyphs import printable
from classifold.pictures.palette import SKY_BLUE
from classifold.runtime.progress import track

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

MAPS = {
    "saliency": "saliency",
    "smoothed": "smoothed saliency",
    "integrated": "integrated gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
}

# Above an image; longer ones would run into the next column.
LETTERS_A_LINE = 32


class Explanation(NamedTuple):
    """A test image, the answer to it, and what the answer hangs on."""

    prediction: Mapping[str, Any]  # a row of predictions.parquet
    pixels: np.ndarray  # uint8 (size, size, 3)
    maps: Maps
    convolutions: list[Convolution]
    boxes: list[Box]  # none where the data have none


def choose_images(predictions: Sequence[Mapping[str, Any]], *, n_images: int) -> list[dict]:
    """Choose by rule: the most confident mistakes for half, then right answers.

    Right answers come from one class after another (with several labels an image the likeliest
    answered), of each the most confident first. Where there are fewer mistakes than half, right
    answers fill up, and the other way round. Several labels are right when all of them are.

    Args:
        predictions: rows of predictions.parquet of one model.
        n_images: how many to choose; fewer if there are fewer.
    """
    ordered = sorted(predictions, key=lambda row: (-row["probability"], row["id"]))
    wrong = [dict(row) for row in ordered if row["predicted"] != row["label"]]
    by_class: dict[str, list[dict]] = defaultdict(list)
    for row in ordered:
        if row["predicted"] == row["label"]:
            by_class[row["top_class"]].append(dict(row))
    queues = [by_class[name] for name in sorted(by_class)]
    longest = max((len(queue) for queue in queues), default=0)
    right = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    n_wrong = min(len(wrong), max(n_images // 2, n_images - len(right)))
    return [*wrong[:n_wrong], *right[: n_images - n_wrong]]


def explain_images(
    model: Model,
    predictions: Sequence[Mapping[str, Any]],
    pixels: np.ndarray,
    *,
    boxes: Mapping[str, list[Box]],
    device: torch.device,
    attribution: Mapping[str, Any],
) -> list[Explanation]:
    """Explain the answers a model gave: of each its likeliest class.

    Args:
        model: which gave the answers.
        predictions: the chosen rows.
        pixels: uint8 array (N, size, size, 3), as stored for the model.
        boxes: id -> bounding boxes, for images that have some.
        device: where to compute.
        attribution: settings of `explain_answer`.
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
                explain_answer(network, inputs, position, **attribution),
                convolutions(network, inputs),
                boxes.get(row["id"], []),
            )
        )
    return explanations


def draw_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Draw one row an image: the image, then each map, brighter where the answer hangs on."""
    n_rows = len(explanations)
    n_columns = 1 + len(MAPS)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(12.3, 2.05 * n_rows), squeeze=False, layout="constrained"
    )
    for row, explanation in zip(axes, explanations, strict=True):
        maps = explanation.maps
        row[0].imshow(explanation.pixels)
        size = len(explanation.pixels)
        for box in explanation.boxes:
            corner, width, height = (box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0
            row[0].add_patch(
                Rectangle(
                    (corner[0] * size - 0.5, corner[1] * size - 0.5),
                    width * size,
                    height * size,
                    fill=False,
                    edgecolor=SKY_BLUE,
                    linewidth=1.5,
                )
            )
        # No mathematics: a class may be called $x$.
        row[0].set_title("\n".join(_title(explanation.prediction)), fontsize=8, parse_math=False)
        for axis, (name, title) in zip(row[1:], MAPS.items(), strict=True):
            strength = getattr(maps, name)
            axis.set_title(title, fontsize=8)
            if strength is not None:
                axis.imshow(strength, cmap="magma", vmin=0, vmax=1)
            else:
                axis.text(0.5, 0.5, "no convolution", ha="center", fontsize=8)
        for axis in row:
            axis.set_axis_off()
    # No software version in the file: the same maps give the same bytes.
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def draw_layers(
    folder: Path, explanations: Sequence[Explanation], *, filters_of: int, activations_of: list[int]
) -> None:
    """Draw `filters.png` and `activations.png`, of the convolutions that the network has.

    Activations are those of the first mistake and of the first right answer among the chosen.

    Args:
        folder: an existing folder.
        explanations: of the chosen images.
        filters_of: the convolution whose filters are drawn, counted from 1; the last if there are
            fewer.
        activations_of: the convolutions whose maps are drawn, likewise.
    """
    verdicts = [one.prediction["predicted"] == one.prediction["label"] for one in explanations]
    shown = [explanations[verdicts.index(right)] for right in (False, True) if right in verdicts]
    shown = [one for one in shown if one.convolutions]
    if not shown:
        return
    n_layers = len(shown[0].convolutions)
    draw_filters(folder / "filters.png", shown[0].convolutions[min(filters_of, n_layers) - 1].layer)
    layers = sorted({min(number, n_layers) - 1 for number in activations_of})
    draw_activations(
        folder / "activations.png",
        [one.pixels for one in shown],
        [[one.convolutions[layer] for layer in layers] for one in shown],
    )


def explanation_metrics(explanations: Sequence[Explanation], *, model: str) -> dict[str, Any]:
    """Collect `metrics/explain.json`.

    `saliency_in_tenth` is the mean share of smoothed saliency in the brightest tenth of pixels:
    0.1 when it is spread evenly, near 1 when an answer hangs on a few places. Of images with
    bounding boxes `saliency_in_boxes` is the mean share of smoothed saliency inside, to be held
    against `boxes_area`, the boxes' mean share of the image.
    """
    rows = [explanation.prediction for explanation in explanations]
    n_right = sum(row["predicted"] == row["label"] for row in rows)
    tenths = [_share_in_tenth(explanation.maps.smoothed) for explanation in explanations]
    return {
        "model": model,
        "n_images": len(rows),
        "n_correct": n_right,
        "n_incorrect": len(rows) - n_right,
        "saliency_in_tenth": float(np.mean(tenths)) if tenths else None,
        **_in_boxes(explanations),
    }


def _in_boxes(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """How much of the smoothed saliency lies inside of bounding boxes, where there are some."""
    shares, areas = [], []
    for explanation in explanations:
        if explanation.boxes:
            strength = explanation.maps.smoothed
            covered = inside(explanation.boxes, (strength.shape[0], strength.shape[1]))
            shares.append(strength[covered].sum() / max(strength.sum(), 1e-12))
            areas.append(covered.mean())
    if not shares:
        return {"n_with_boxes": 0}
    return {
        "n_with_boxes": len(shares),
        "saliency_in_boxes": float(np.mean(shares)),
        "boxes_area": float(np.mean(areas)),
    }


def _title(prediction: Mapping[str, Any]) -> list[str]:
    """The class that is explained, and whether the answer was right, in two or three lines."""
    answered, borne = (
        prediction[key].replace(LABEL_SEPARATOR, ", ") or "nothing"
        for key in ("predicted", "label")
    )
    lines = [f"{prediction['top_class']} {prediction['top_probability']:.2f}"]
    if prediction["predicted"] != prediction["top_class"]:
        lines.append(f"answered: {answered}")
    right = prediction["predicted"] == prediction["label"]
    lines.append("right" if right else f"wrong: is {borne}")
    return [_cut(printable(" ".join(line.split()))) for line in lines]


def _cut(line: str) -> str:
    return line if len(line) <= LETTERS_A_LINE else f"{line[: LETTERS_A_LINE - 1]}…"


def _share_in_tenth(strength: np.ndarray) -> float:
    values = np.sort(strength, axis=None)[::-1]
    return float(values[: max(1, round(values.size / 10))].sum() / max(values.sum(), 1e-12))
