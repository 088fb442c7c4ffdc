"""Precision, recall and error counts of the stack, for data with several labels per image."""

from collections import defaultdict
from typing import Any

import plotly.graph_objects as go

from classifold.pictures.palette import BLUE, ORANGE, VERMILION
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import (
    LINE_HEIGHT,
    PERCENT_AXIS,
    Chart,
    new_figure,
    nth_color,
    percentages,
    text,
)
from classifold.reporting.formats import PERCENT
from classifold.reporting.sections.class_axis import (
    MAX_BARS_IN_CLASS_ORDER,
    class_bars,
)
from classifold.reporting.tables import Cell, Column, Table, number_cell

MAX_CLASS_CURVES = 24  # number of curves of precision and recall

# Of the text that Plotly shows beside the pointer.
PRECISION_AND_RECALL = f"precision %{{y:.1f}}{PERCENT}, recall %{{x:.1f}}{PERCENT}<extra></extra>"


def label_count_charts(facts: Facts) -> dict[str, Any]:
    """Collect what the template of section "Test" shows for several labels per image."""
    errors = ("false_positives", "false_negatives")
    return {
        "precision_recall": precision_recall(facts),
        "MAX_CLASS_CURVES": MAX_CLASS_CURVES,
        "class_counts": class_counts(facts.per_class),
        "class_counts_table": class_counts_table(facts.per_class),
        "threshold": facts.threshold,
        "n_mistakes": sum(int(row[error]) for row in facts.per_class for error in errors),
    }


def precision_recall(facts: Facts) -> Chart:
    """Draw precision over recall of the stack, for all pairs and for single classes.

    Curves of classes are hidden until the reader selects them in the legend. With very many
    classes, only those with the lowest average precision have a curve.
    """
    curves: dict[str, Rows] = defaultdict(list)
    micro = [row for row in facts.precision_recall if row["curve"] == "micro"]
    for row in facts.precision_recall:
        if row["curve"] == "class":
            curves[row["class"]].append(row)
    average = {row["class"]: float(row["average_precision"] or 0) for row in facts.per_class}
    shown = sorted(curves, key=lambda name: average[name])[:MAX_CLASS_CURVES]
    figure = new_figure()
    for number, name in enumerate(facts.classes):
        if name in shown:
            _add_curve(figure, text(name), curves[name], color=nth_color(number + 1), width=1.4)
            figure.data[-1].visible = "legendonly"
    _add_curve(figure, "all pairs (micro)", micro, color=BLUE, width=3)
    counts = {
        key: sum(int(row[key]) for row in facts.per_class)
        for key in ("true_positives", "false_positives", "false_negatives")
    }
    n_correct = counts["true_positives"]
    figure.add_scatter(
        name="threshold in use",
        x=[100 * n_correct / max(n_correct + counts["false_negatives"], 1)],
        y=[100 * n_correct / max(n_correct + counts["false_positives"], 1)],
        mode="markers",
        marker={"color": VERMILION, "symbol": "diamond", "size": 12},
        hovertemplate=f"threshold in use: {PRECISION_AND_RECALL}",
    )
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(title="recall", range=[-2, 102], **PERCENT_AXIS)
    figure.update_yaxes(title="precision", range=[-2, 105], **PERCENT_AXIS)
    label = "Precision-recall curves of the stack on test images"
    return Chart("precision-recall", label, figure, 420 + LINE_HEIGHT * (len(shown) // 5))


def class_counts(rows: Rows) -> Chart:
    """Draw true positives, false negatives and false positives of each class."""
    classes = [row["class"] for row in rows]
    if len(classes) > MAX_BARS_IN_CLASS_ORDER:
        rows = sorted(rows, key=lambda row: -int(row["support"]))
        classes = [row["class"] for row in rows]
    kinds = (
        ("true positives", "true_positives", BLUE),
        ("false negatives", "false_negatives", ORANGE),
        ("false positives", "false_positives", VERMILION),
    )
    series = [(name, color, [int(row[key]) for row in rows]) for name, key, color in kinds]
    label = "True positives, false negatives and false positives of each class"
    return class_bars("class-counts", label, classes, series, unit="test images")


def class_counts_table(rows: Rows) -> Table:
    """Tabulate true and false positives and negatives of each class."""
    titles = {
        "true_positives": "true positives",
        "false_negatives": "false negatives",
        "false_positives": "false positives",
        "true_negatives": "true negatives",
    }
    columns = [Column("class"), *(Column(title, numeric=True) for title in titles.values())]
    body = [
        [Cell(row["class"], row["class"]), *(number_cell(int(row[key])) for key in titles)]
        for row in rows
    ]
    return Table("Predictions of the stack on test images, by class", columns, body)


def _add_curve(figure: go.Figure, name: str, rows: Rows, *, color: str, width: float) -> None:
    figure.add_scatter(
        name=name,
        x=percentages(float(row["recall"]) for row in rows),
        y=percentages(float(row["precision"]) for row in rows),
        customdata=[float(row["threshold"]) for row in rows],
        mode="lines",
        line={"color": color, "width": width},
        hovertemplate=f"%{{fullData.name}}, threshold %{{customdata:.3f}}: {PRECISION_AND_RECALL}",
    )
