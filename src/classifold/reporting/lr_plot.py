"""Plot a learning rate range test."""

from pathlib import Path

from matplotlib.figure import Figure

from classifold.data.csv_file import write_rows
from classifold.errors import UserError
from classifold.pictures.palette import BLUE, GRAY, VERMILION
from classifold.search.lr_finder import RangeTest

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 120


def write_lr_plot(path: Path, tried: RangeTest, *, model: str) -> None:
    """Plot loss over learning rate, and write the numbers to a CSV file beside the plot.

    Args:
        path: PNG, SVG or PDF file to write, see `SUFFIXES`.
        tried: losses and learning rates.
        model: name of the model.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        tried.rates, tried.losses, color=GRAY, alpha=0.5, linewidth=1, label="loss of one step"
    )
    axes.plot(tried.rates, tried.smoothed, color=BLUE, linewidth=2, label="smoothed")
    try:
        suggestion = tried.suggestion()
        axes.axvline(
            suggestion,
            color=VERMILION,
            linestyle="--",
            label=f"suggested maximum: {suggestion:.2g}",
        )
    except UserError:
        pass  # the plot shows why there is no suggestion
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss",
        title=f"Learning rate range test of {model}",
    )
    axes.set_ylim(0.9 * tried.smoothed.min(), 1.5 * tried.smoothed[0])
    axes.legend()
    figure.savefig(path, dpi=DPI)
    rows = zip(tried.rates, tried.losses, tried.smoothed, strict=True)
    write_rows(
        path.with_suffix(".csv"),
        (
            {"learning_rate": f"{rate:.6g}", "loss": f"{loss:.6g}", "smoothed": f"{smooth:.6g}"}
            for rate, loss, smooth in rows
        ),
        columns=["learning_rate", "loss", "smoothed"],
    )
