"""Plot the accuracies of all arms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from classifold.pictures.palette import BLUE, VERMILION

SPLITS = {"validation": (VERMILION, "o", -0.12), "clean": (BLUE, "s", 0.12)}


def draw_arms(
    path: Path,
    compared: Mapping[str, Any],
    panels: Mapping[str, Mapping[str, str]],
    *,
    n_clean: int,
) -> None:
    """Plot validation and clean accuracy of each arm with their intervals, and of each seed.

    Args:
        path: the PNG file.
        compared: the result of `compare_arms`.
        panels: title -> arm -> its label.
        n_clean: number of clean images.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.6 * len(panels), 4.2), sharey=True, layout="constrained"
    )
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        _draw(axis, [compared[arm] for arm in names])
        axis.set_xticks(range(len(names)), list(names.values()))
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel("accuracy, %")
    labels = ["validation images, which selected the epoch", f"{n_clean:,} clean images"]
    figure.legend(
        axes[0].get_legend_handles_labels()[0],
        labels,
        loc="outside lower center",
        title="bars: 95 % intervals over images; ticks: one seed each",
    )
    # No software version in the file: the same scores give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _draw(axis: Axes, arms: Sequence[Mapping[str, Any]]) -> None:
    for split, (color, marker, offset) in SPLITS.items():
        for place, arm in enumerate(arms):
            x, accuracy = place + offset, 100 * arm[f"{split}_accuracy"]
            low, high = (100 * end for end in arm[f"{split}_accuracy_ci95"])
            axis.plot([x, x], [low, high], color=color, linewidth=2)
            by_seed = [100 * one for one in arm[f"{split}_accuracy_by_seed"]]
            axis.plot([x + offset] * len(by_seed), by_seed, "_", color=color, markersize=7)
            axis.annotate(f"{accuracy:.1f}", (x + 2.2 * offset, accuracy), ha="center", fontsize=8)
        places = [place + offset for place in range(len(arms))]
        accuracies = [100 * arm[f"{split}_accuracy"] for arm in arms]
        axis.plot(places, accuracies, marker, color=color, label=split)
