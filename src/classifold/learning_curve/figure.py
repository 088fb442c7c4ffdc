"""Plot a learning curve and its fitted power laws."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

from classifold.learning_curve.curve import LEVELS, Curve
from classifold.pictures.palette import BLUE, GRAY, VERMILION


def draw_curve(path: Path, curve: Curve, *, metric: str) -> None:
    """Plot scores with their intervals, the law, its band up to twice the images, and a test.

    Args:
        path: the PNG file.
        curve: at least three sizes.
        metric: name of the score.
    """
    largest = float(curve.n_images[-1])
    law, laws = curve.fit()
    half = curve.half()
    held_back, _ = half.fit()
    figure, axis = plt.subplots(figsize=(7, 4.4), layout="constrained")
    n_images = np.geomspace(curve.n_images[0], 2 * largest, 100)
    bands = np.quantile(1 - laws.error(n_images), LEVELS, axis=0)
    axis.fill_between(n_images, *bands, color=BLUE, alpha=0.15, linewidth=0)
    axis.plot(n_images, 1 - law.error(n_images), color=BLUE, label="fitted to all sizes")
    beyond = n_images[n_images <= largest]
    label = f"fitted to at most {half.n_images[-1]:,} images"
    axis.plot(beyond, 1 - held_back.error(beyond), "--", color=VERMILION, label=label)
    for n, by_seed in zip(curve.n_images, curve.by_seed, strict=True):
        axis.plot([n] * len(by_seed), 1 - np.array(by_seed), "_", color=GRAY, markersize=9)
    ends = np.abs(np.quantile(1 - curve.resampled, LEVELS, axis=0) - (1 - curve.errors))
    axis.errorbar(
        curve.n_images, 1 - curve.errors, ends, fmt="o", color="black", capsize=3, label="measured"
    )
    axis.set_xscale("log", base=2)
    ticks = [*curve.n_images.tolist(), int(2 * largest)]
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks], rotation=45)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("training images")
    axis.set_ylabel(f"{metric} of validation images")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", title="bars and band: 95 %; ticks: one seed each")
    # No software version in the file: the same scores give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
