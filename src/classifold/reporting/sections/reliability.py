"""The reliability diagram of the stack."""

from plotly.subplots import make_subplots

from classifold.evaluation.intervals import accuracy_interval
from classifold.pictures.palette import BLUE, GRAY
from classifold.reporting.facts import Rows
from classifold.reporting.figures import PERCENT_AXIS, Chart, layout, percentages
from classifold.reporting.formats import PERCENT
from classifold.reporting.sections.score_chart import error_bars


def reliability(rows: Rows, *, task: str) -> Chart:
    """Draw the accuracy of the stack over its predicted probability, bin by bin.

    Args:
        rows: rows of `calibration.csv`.
        task: with one label per image (`single`) the bins hold images, by the probability of the
            predicted class; with several labels (`multi`) they hold all pairs of image and class.
    """
    axes, items = ("probability of the predicted class", "accuracy"), "images"
    if task == "multi":
        axes, items = ("probability of the class", "fraction of positives"), "pairs"
    confidence = [float(row["confidence"]) for row in rows]
    accuracy = [float(row["accuracy"]) for row in rows]
    n_images = [int(row["n_images"]) for row in rows]
    ends = [
        accuracy_interval(round(fraction * n), n)
        for fraction, n in zip(accuracy, n_images, strict=True)
    ]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.09
    )
    figure.update_layout(**layout(showlegend=False))
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        line={"color": GRAY, "dash": "dot", "width": 1.2},
        hoverinfo="skip",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=percentages(confidence),
        y=percentages(accuracy),
        mode="lines+markers",
        line={"color": BLUE, "width": 1.5},
        marker={"size": 8},
        error_y=error_bars(percentages(accuracy), list(map(percentages, ends))),
        customdata=n_images,
        hovertemplate=f"mean probability %{{x:.1f}}{PERCENT}, {axes[1]} %{{y:.1f}}{PERCENT}, "
        f"%{{customdata:,}} {items}<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_bar(
        x=percentages((float(row["low"]) + float(row["high"])) / 2 for row in rows),
        width=percentages(float(row["high"]) - float(row["low"]) for row in rows),
        y=n_images,
        text=[f"{n:,}" for n in n_images],
        textposition="outside",
        cliponaxis=False,
        marker={"color": BLUE, "opacity": 0.7},
        hovertemplate=f"%{{y:,}} {items}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=[-2, 102], **PERCENT_AXIS)
    figure.update_xaxes(title=axes[0], row=2, col=1)
    figure.update_yaxes(title=axes[1], range=[-3, 105], **PERCENT_AXIS, row=1, col=1)
    figure.update_yaxes(title=items, row=2, col=1, rangemode="tozero", nticks=3)
    return Chart("reliability", "Reliability diagram of the stack", figure, 500)
