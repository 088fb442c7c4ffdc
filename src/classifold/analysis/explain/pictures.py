"""Draw explanations: images with attribution maps and neighbors, filters and activations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
import numpy as np
from torch import nn

from classifold.analysis.explain.convolutions import Convolution
from classifold.analysis.explain.explanations import Explanation
from classifold.analysis.explain.neighbors import Neighbor, label_overlap
from classifold.analysis.features.nearest import N_NEIGHBORS
from classifold.data.labels import format_labels
from classifold.pictures.glyphs import printable, shorten
from classifold.pictures.palette import BLUE, GREEN, SKY_BLUE, VERMILION
from classifold.pictures.tiles import draw_tiles

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

MAPS = {
    "saliency": "saliency",
    "smoothed": "smoothed saliency",
    "integrated": "integrated gradients",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
}

# Of the title above an image; longer lines would overlap the next column.
CHARACTERS_PER_LINE = 32
FILTERS_PER_ROW = 12
MAX_FILTERS = 60
MAX_FEATURE_MAPS = 12


class Frame(NamedTuple):
    """The frame of a neighbor; styles differ, so that colors are not needed."""

    meaning: str
    color: str
    style: Literal["solid", "dashdot", "dashed"]


EQUAL = Frame("same labels as the test image", GREEN, "solid")
PARTLY = Frame("some labels in common", BLUE, "dashdot")
DIFFERENT = Frame("different labels", VERMILION, "dashed")


def draw_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Draw one row per image: the image, then each map, bright where it affects the prediction."""
    n_rows = len(explanations)
    n_columns = 1 + len(MAPS)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(12.3, 2.05 * n_rows), squeeze=False, layout="constrained"
    )
    for row, explanation in zip(axes, explanations, strict=True):
        maps = explanation.maps
        _draw_image(row[0], explanation)
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


def draw_neighbors(
    path: Path, explanations: Sequence[Explanation], neighbors: Sequence[Sequence[Neighbor]]
) -> None:
    """Draw one row per image: the image, then the nearest training images with a frame.

    Args:
        path: PNG file to write.
        explanations: explanations of the chosen images.
        neighbors: the training images that are nearest to each.
    """
    n_rows = len(explanations)
    figure, axes = plt.subplots(
        n_rows,
        1 + N_NEIGHBORS,
        figsize=(12.3, 2.05 * n_rows + 0.4),
        squeeze=False,
        layout="constrained",
    )
    used = set()
    for row, explanation, nearest in zip(axes, explanations, neighbors, strict=True):
        for axis in row:
            axis.set_axis_off()
        _draw_image(row[0], explanation)
        for axis, neighbor in zip(row[1:], nearest, strict=False):
            frame = _frame(label_overlap(neighbor.label, explanation.prediction["label"]))
            used.add(frame)
            axis.imshow(neighbor.pixels)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set(color=frame.color, linestyle=frame.style, linewidth=3)
            label = format_labels(neighbor.label)
            lines = [_shown(label), f"similarity: {neighbor.similarity:.3f}"]
            axis.set_title("\n".join(lines), fontsize=8, parse_math=False)
    frames = [frame for frame in (EQUAL, PARTLY, DIFFERENT) if frame in used]
    figure.legend(
        [Line2D([], [], color=one.color, linestyle=one.style, linewidth=3) for one in frames],
        [one.meaning for one in frames],
        loc="outside upper left",
        ncols=len(frames),
        fontsize=9,
        handlelength=4,
    )
    # No software version in the file: the same images give the same bytes.
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def draw_layers(
    folder: Path, explanations: Sequence[Explanation], *, filters_of: int, activations_of: list[int]
) -> None:
    """Draw `filters.png` and `activations.png`; nothing for a network without convolutions.

    Activations are drawn for the first mistake and the first correct prediction.

    Args:
        folder: an existing folder.
        explanations: explanations of the chosen images.
        filters_of: the convolution whose filters are drawn, counted from 1; the last one if there
            are fewer.
        activations_of: the convolutions whose feature maps are drawn, counted likewise.
    """
    is_correct = [one.prediction["predicted"] == one.prediction["label"] for one in explanations]
    shown = [explanations[is_correct.index(i)] for i in (False, True) if i in is_correct]
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


def draw_filters(path: Path, layer: nn.Conv2d) -> None:
    """Draw a convolution's filters, 0 as mid-gray, each scaled by its largest weight.

    Filters of three channels are drawn in color, others as the mean over their channels.
    """
    weights = layer.weight.detach().float().cpu().numpy()[:MAX_FILTERS]  # (N, channels, h, w)
    pictures = weights.transpose(0, 2, 3, 1) if weights.shape[1] == 3 else weights.mean(axis=1)
    tiles = [0.5 + one / (2 * max(np.abs(one).max(), 1e-12)) for one in pictures]
    draw_tiles(
        path, [tiles[i : i + FILTERS_PER_ROW] for i in range(0, len(tiles), FILTERS_PER_ROW)]
    )


def draw_activations(
    path: Path, images: Sequence[np.ndarray], convolutions: Sequence[Sequence[Convolution]]
) -> None:
    """Draw one row per image and convolution: the image, then the first feature maps.

    Args:
        path: PNG file to write.
        images: uint8 arrays (size, size, 3).
        convolutions: those to draw, for each image.
    """
    rows = []
    for image, layers in zip(images, convolutions, strict=True):
        for one in layers:
            maps = one.maps[:MAX_FEATURE_MAPS].float().cpu().numpy()
            lowest, highest = float(maps.min()), float(maps.max())
            rows.append([image / 255, *((maps - lowest) / max(highest - lowest, 1e-12))])
    draw_tiles(path, rows)


def _draw_image(axis: Axes, explanation: Explanation) -> None:
    """Draw an image with its bounding boxes and its prediction."""
    axis.imshow(explanation.pixels)
    size = len(explanation.pixels)
    for box in explanation.boxes:
        corner, width, height = (box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0
        axis.add_patch(
            Rectangle(
                (corner[0] * size - 0.5, corner[1] * size - 0.5),
                width * size,
                height * size,
                fill=False,
                edgecolor=SKY_BLUE,
                linewidth=1.5,
            )
        )
    # A class may be called $x$, which is not to be drawn as mathematics.
    axis.set_title("\n".join(_title(explanation.prediction)), fontsize=8, parse_math=False)


def _frame(overlap: float) -> Frame:
    """Choose the frame of a neighbor by the overlap of its labels with those of the image."""
    return EQUAL if overlap == 1 else PARTLY if overlap > 0 else DIFFERENT


def _title(prediction: Mapping[str, Any]) -> list[str]:
    """The prediction, whether it is correct, and the probability of the explained class."""
    predicted, actual = (format_labels(prediction[key]) for key in ("predicted", "label"))
    correct = prediction["predicted"] == prediction["label"]
    lines = [
        f"predicted: {predicted}",
        "correct" if correct else f"actual: {actual}",
        f"probability: {100 * prediction['top_probability']:.1f} %",
    ]
    if prediction["predicted"] != prediction["top_class"]:
        lines.insert(0, f"explained: {prediction['top_class']}")
    return [_shown(line) for line in lines]


def _shown(line: str) -> str:
    return shorten(printable(" ".join(line.split())), CHARACTERS_PER_LINE)
