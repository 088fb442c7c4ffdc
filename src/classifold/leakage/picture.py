"""Scores of the same network, split and augmented in different ways, as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from classifold.pictures.palette import BLUE, VERMILION

PARTS = {"validation": (VERMILION, "o", -0.12), "clean": (BLUE, "s", 0.12)}


def draw_arms(
    path: Path, told: Mapping[str, Any], panels: Mapping[str, Mapping[str, str]], *, n_clean: int
) -> None:
    """Draw validation and clean accuracy of each arm with their intervals, and those of each seed.

    Args:
        path: of the PNG.
        told: what `tell_arms` tells.
        panels: title -> arm -> what to call it there.
        n_clean: images that no arm has seen.
    """
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.6 * len(panels), 4.2), sharey=True, layout="constrained"
    )
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        _draw(axis, [told[arm] for arm in names])
        axis.set_xticks(range(len(names)), list(names.values()))
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.set_title(title, fontsize=10)
    axes[0].set_ylabel("accuracy, %")
    labels = ["validation images, which chose the epoch", f"{n_clean:,} clean images, never seen"]
    figure.legend(
        axes[0].get_legend_handles_labels()[0],
        labels,
        loc="outside lower center",
        title="bar: 95 % over images; ticks: a seed each",
    )
    # No software version in the file: the same scores give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _draw(axis: Axes, arms: Sequence[Mapping[str, Any]]) -> None:
    for part, (color, marker, aside) in PARTS.items():
        for place, arm in enumerate(arms):
            x, share = place + aside, 100 * arm[f"{part}_accuracy"]
            low, high = (100 * end for end in arm[f"{part}_accuracy_ci95"])
            axis.plot([x, x], [low, high], color=color, linewidth=2)
            by_seed = [100 * one for one in arm[f"{part}_accuracy_by_seed"]]
            axis.plot([x + aside] * len(by_seed), by_seed, "_", color=color, markersize=7)
            axis.annotate(f"{share:.1f}", (x + 2.2 * aside, share), ha="center", fontsize=8)
        places = [place + aside for place in range(len(arms))]
        shares = [100 * arm[f"{part}_accuracy"] for arm in arms]
        axis.plot(places, shares, marker, color=color, label=part)
