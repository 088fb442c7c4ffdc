"""Draw t-SNE maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from classifold.analysis.tsne.maps import Map
from classifold.pictures.glyphs import printable
from classifold.pictures.palette import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION

mpl.use("Agg")
from matplotlib import pyplot as plt

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
MAX_CLASSES_IN_LEGEND = 20


def draw_maps(path: Path, maps: Sequence[Map], labels: Sequence[str]) -> None:
    """Draw maps of the same images side by side, colored by class.

    Args:
        path: PNG file to write.
        maps: the chosen one of each space.
        labels: the class of each image.
    """
    figure, axes = plt.subplots(
        1, len(maps), figsize=(6 * len(maps), 6.4), squeeze=False, layout="constrained"
    )
    classes, class_of = np.unique(np.array(labels, object), return_inverse=True)
    by_class = np.split(np.argsort(class_of, kind="stable"), np.bincount(class_of).cumsum()[:-1])
    handles: dict[str, Any] = {}
    for axis, one in zip(axes[0], maps, strict=True):
        for i, (name, chosen) in enumerate(zip(classes, by_class, strict=True)):
            style = {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}
            points = axis.scatter(*one.points[chosen].T, s=14, linewidths=0, **style)
            handles[name] = points
        axis.set_title(f"by {one.space}, perplexity {one.perplexity:g}")
        axis.set_xticks([])
        axis.set_yticks([])
    if len(classes) <= MAX_CLASSES_IN_LEGEND:
        # matplotlib omits names that begin with an underscore from the legend.
        names = [f" {printable(name)}" for name in handles]
        # A class may be called $x$, which is not to be drawn as mathematics.
        legend = figure.legend(list(handles.values()), names, loc="outside lower center", ncols=5)
        for text in legend.get_texts():
            text.set_parse_math(False)
    # No software version in the file: the same maps give the same bytes.
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
