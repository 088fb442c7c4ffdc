"""Draw an image under each corruption."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine

from classifold.analysis.robustness.corruptions import corrupt
from classifold.evaluation.labels import LabeledImages


def draw_corruptions(
    path: Path,
    images: LabeledImages,
    pixels: np.ndarray,
    *,
    corruptions: Sequence[str],
    severities: Sequence[int],
    seed: int,
) -> None:
    """Draw the first image as it is and under each corruption, a row per corruption.

    Args:
        path: PNG file to write.
        images: at least one image.
        pixels: uint8 array (N, size, size, 3).
        corruptions: names of the corruptions.
        severities: columns.
        seed: seed of the corruptions, so that the image is the one that models predict.
    """
    n_rows, n_columns = len(corruptions), 1 + len(severities)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(1.1 * n_columns + 1.6, 1.1 * n_rows + 0.3),
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0),
    )
    for row, corruption in zip(axes, corruptions, strict=True):
        row[0].set_ylabel(
            corruption.replace("_", " "), rotation=0, ha="right", va="center", fontsize=9
        )
        for axis, severity in zip(row, (0, *severities), strict=True):
            image = pixels[0]
            if severity:
                image = corrupt(image, corruption, severity, seed=seed, image_id=images.ids[0])
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    for axis, severity in zip(axes[0], (0, *severities), strict=True):
        axis.set_title(f"severity {severity}" if severity else "as it is", fontsize=9)
    # No software version in the file: the same images give the same bytes.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
