"""What added images did, as one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from classifold.gan.added import REFERENCE
from classifold.pictures.palette import BLUE

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOR, NO_GAIN = BLUE, "#666666"


def draw_gains(path: Path, compared: Mapping[str, Any]) -> None:
    """Draw the gain of each sort of added images, with its interval, and that of each fold.

    Args:
        path: of the PNG.
        compared: what `compare` tells.
    """
    sorts = [sort for sort in ("generated", "warped") if sort in compared]
    figure, axis = plt.subplots(figsize=(7, 1.6 + 0.8 * len(sorts)), layout="constrained")
    axis.axvline(0, color=NO_GAIN, linewidth=1)
    reference = compared[REFERENCE]
    for row, sort in enumerate(sorts):
        told = compared[sort]
        by_fold = zip(told["accuracy_by_fold"], reference["accuracy_by_fold"], strict=True)
        gains = [100 * (with_added - without) for with_added, without in by_fold]
        axis.plot(gains, [row + 0.22] * len(gains), "|", color=NO_GAIN, markersize=9)
        low, high = (100 * end for end in told["gain_ci95"])
        axis.plot([low, high], [row, row], color=COLOR, linewidth=3, solid_capstyle="butt")
        axis.plot(100 * told["gain"], row, "o", color=COLOR)
        text = f"{100 * told['gain']:+.2f} [{low:+.2f}, {high:+.2f}]"
        axis.annotate(
            text, (100 * told["gain"], row), (0, 7), textcoords="offset points", ha="center"
        )
    axis.set_yticks(range(len(sorts)), [f"{sort} images added" for sort in sorts])
    axis.set_ylim(len(sorts) - 0.5, -0.5)
    axis.set_xlabel(
        "gain in accuracy over real images shown again, percentage points\n(strokes: each fold)"
    )
    axis.set_title(
        f"{compared['n_images']:,} training images, each held out once: "
        f"accuracy {100 * reference['accuracy']:.2f} % without",
        fontsize=10,
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
