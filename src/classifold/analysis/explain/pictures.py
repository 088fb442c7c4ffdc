"""Draw explanations: the images with their attribution maps, filters and activations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from torch import nn

from classifold.analysis.explain.convolutions import Convolution
from classifold.analysis.explain.explanations import Explanation
from classifold.data.image_table import LABEL_SEPARATOR
from classifold.pictures.glyphs import printable, shorten
from classifold.pictures.palette import SKY_BLUE
from classifold.pictures.tiles import draw_tiles

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

# Of the title above an image; longer lines would overlap the next column.
CHARACTERS_PER_LINE = 32
FILTERS_PER_ROW = 12
MAX_FILTERS = 60
MAX_FEATURE_MAPS = 12


def draw_explanations(path: Path, explanations: Sequence[Explanation]) -> None:
    """Draw one row per image: the image, then each map, bright where it affects the prediction."""
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
        # A class may be called $x$, which is not to be drawn as mathematics.
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


def _title(prediction: Mapping[str, Any]) -> list[str]:
    """The prediction, whether it is correct, and the probability of the explained class."""
    predicted, actual = (
        prediction[key].replace(LABEL_SEPARATOR, ", ") or "nothing"
        for key in ("predicted", "label")
    )
    correct = prediction["predicted"] == prediction["label"]
    lines = [
        f"predicted: {predicted}",
        "correct" if correct else f"actual: {actual}",
        f"probability: {100 * prediction['top_probability']:.1f} %",
    ]
    if prediction["predicted"] != prediction["top_class"]:
        lines.insert(0, f"explained: {prediction['top_class']}")
    return [shorten(printable(" ".join(line.split())), CHARACTERS_PER_LINE) for line in lines]
