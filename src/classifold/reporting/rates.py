"""The picture of a learning-rate range test."""

from pathlib import Path

from matplotlib.figure import Figure

from classifold.data.csv_file import write_rows
from classifold.errors import UserError
from classifold.search.lr_finder import RangeTest

DOTS_AN_INCH = 120


def write_rates(path: Path, tried: RangeTest, *, model: str) -> None:
    """Draw loss over learning rate into `path`, and write the numbers beside it as CSV.

    Raises:
        UserError: if `path` does not name a picture.
    """
    if path.suffix not in {".png", ".svg", ".pdf"}:
        raise UserError(f"--out must end with .png, .svg or .pdf, got '{path}'")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(tried.rates, tried.losses, color="0.75", linewidth=1, label="a step")
    axes.plot(tried.rates, tried.smoothed, color="C0", linewidth=2, label="smoothed")
    try:
        suggestion = tried.suggestion()
        axes.axvline(suggestion, color="C1", linestyle="--", label=f"steepest at {suggestion:.2g}")
    except UserError:
        pass  # the picture is what shows why
    axes.set(
        xscale="log", xlabel="learning rate", ylabel="loss", title=f"Which rates teach {model}"
    )
    axes.set_ylim(0.9 * tried.smoothed.min(), 1.5 * tried.smoothed[0])
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_AN_INCH)
    rows = zip(tried.rates, tried.losses, tried.smoothed, strict=True)
    write_rows(
        path.with_suffix(".csv"),
        (
            {"learning_rate": f"{rate:.6g}", "loss": f"{loss:.6g}", "smoothed": f"{smooth:.6g}"}
            for rate, loss, smooth in rows
        ),
        columns=["learning_rate", "loss", "smoothed"],
    )
