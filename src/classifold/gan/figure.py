"""Plot the gains from added images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from classifold.gan.added_images import REFERENCE
from classifold.pictures.palette import BLUE

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOR, NO_GAIN = BLUE, "#666666"


def draw_gains(path: Path, compared: Mapping[str, Any]) -> None:
    """Plot the gain with each kind of added images, with its interval, and that of each fold.

    Args:
        path: the PNG file.
        compared: the result of `compare`.
    """
    kinds = [kind for kind in ("generated", "augmented") if kind in compared]
    figure, axis = plt.subplots(figsize=(7, 1.6 + 0.8 * len(kinds)), layout="constrained")
    axis.axvline(0, color=NO_GAIN, linewidth=1)
    reference = compared[REFERENCE]
    for row, kind in enumerate(kinds):
        measured = compared[kind]
        by_fold = zip(measured["accuracy_by_fold"], reference["accuracy_by_fold"], strict=True)
        gains = [100 * (with_added - without) for with_added, without in by_fold]
        axis.plot(gains, [row + 0.22] * len(gains), "|", color=NO_GAIN, markersize=9)
        low, high = (100 * end for end in measured["gain_ci95"])
        axis.plot([low, high], [row, row], color=COLOR, linewidth=3, solid_capstyle="butt")
        axis.plot(100 * measured["gain"], row, "o", color=COLOR)
        text = f"{100 * measured['gain']:+.2f} [{low:+.2f}, {high:+.2f}]"
        axis.annotate(
            text, (100 * measured["gain"], row), (0, 7), textcoords="offset points", ha="center"
        )
    axis.set_yticks(range(len(kinds)), [f"{kind} images added" for kind in kinds])
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.set_xlabel(
        "gain in accuracy over repeated real images, percentage points\n(ticks: one fold each)"
    )
    axis.set_title(
        f"{compared['n_images']:,} training images, each held out once: "
        f"accuracy {100 * reference['accuracy']:.2f} % with repeated real images",
        fontsize=10,
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
