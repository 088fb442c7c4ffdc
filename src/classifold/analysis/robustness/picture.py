"""Draw an image under each corruption."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

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
    columns = (0, *severities)
    size = pixels.shape[1]
    step = size + max(1, size // 16)  # to the next one, with a margin
    shown = np.full((len(corruptions), step, len(columns), step, 3), 255, np.uint8)
    for row, corruption in enumerate(corruptions):
        for column, severity in enumerate(columns):
            image = pixels[0]
            if severity:
                image = corrupt(image, corruption, severity, seed=seed, image_id=images.ids[0])
            shown[row, :size, column, :size] = image

    n_rows, n_columns = len(corruptions), len(columns)
    # One pair of axes: a pair for each image takes most of the time of a short run.
    figure, axis = plt.subplots(
        figsize=(1.1 * n_columns + 1.6, 1.1 * n_rows + 0.3), layout="constrained"
    )
    axis.imshow(shown.reshape(n_rows * step, n_columns * step, 3), interpolation="nearest")
    names = [corruption.replace("_", " ") for corruption in corruptions]
    axis.set_yticks(np.arange(n_rows) * step + size / 2, names, fontsize=9)
    titles = [f"severity {severity}" if severity else "as it is" for severity in columns]
    axis.set_xticks(np.arange(n_columns) * step + size / 2, titles, fontsize=9)
    axis.xaxis.tick_top()
    axis.set_anchor("E")  # the names are on the left
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    # No software version in the file: the same images give the same bytes.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
