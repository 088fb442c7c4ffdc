"""Confusion matrix of the stack, for data with one label per image."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from classifold.pictures.palette import BLUE, VERMILION
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import CHARACTER_WIDTH, Chart, new_figure, text
from classifold.reporting.formats import PERCENT, percent
from classifold.reporting.sections.class_axis import MAX_LABELED_CLASSES, class_ticks, short_name
from classifold.reporting.tables import Cell, Column, Table, number_cell

MAX_CONFUSIONS = 12
MAX_NUMBERED_CLASSES = 20  # with more classes, cells are too small for a number
MAX_MATRIX_CLASSES = 200  # with more, cells would be invisible: only some classes are shown

# Pixels.
MAX_CELL_SIZE = 44
MAX_MATRIX_SIZE = 700


def confusion_charts(facts: Facts) -> dict[str, Any]:
    """Collect what the template of section "Test" shows for one label per image."""
    return {
        "confusion": confusion_matrix(facts),
        "n_confused": len(confused_classes(facts)),
        "confusions": confusions_table(facts.confusion),
        "n_mistakes": sum(row["actual"] != row["predicted"] for row in facts.confusion),
    }


def confusion_matrix(facts: Facts) -> Chart:
    """Draw the confusion matrix of the stack, normalized by actual class."""
    classes = confused_classes(facts)
    n_classes = len(classes)
    position = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((n_classes, n_classes), int)
    support = np.zeros(n_classes, int)  # predictions of classes that are not shown count too
    for row in facts.confusion:
        actual, predicted = (position.get(row[key]) for key in ("actual", "predicted"))
        if actual is not None:
            support[actual] += 1
            if predicted is not None:
                counts[actual, predicted] += 1
    fractions = counts / np.maximum(support, 1)[:, None]
    correct = np.eye(n_classes, dtype=bool)
    numbered = n_classes <= MAX_NUMBERED_CLASSES
    figure = new_figure(showlegend=False)
    for color, cells in ((BLUE, correct), (VERMILION, ~correct)):
        shown = cells & (counts > 0)
        figure.add_heatmap(
            # Plotly neither draws NaN nor shows a tooltip for it.
            z=np.where(shown, np.round(100 * fractions, 2), np.nan),
            customdata=counts,
            text=np.where(shown, counts.astype(str), "") if numbered else None,
            texttemplate="%{text}" if numbered else None,
            zmin=0,
            zmax=100,
            # The script of the page replaces white by a mix of the color and the background.
            colorscale=[[0, "white"], [1, color]],
            showscale=False,
            hoverongaps=False,
            xgap=1 if numbered else 0,
            ygap=1 if numbered else 0,
            hovertemplate="actual %{y}, predicted %{x}: %{customdata:,} images, "
            f"%{{z:.1f}}{PERCENT} of the actual class<extra></extra>",
        )
    # Otherwise Plotly reads a class named 3 as a number and one named 2020-01 as a date.
    labels = [text(name) for name in classes]
    for heatmap in figure.data:
        heatmap.x, heatmap.y = labels, labels
    cell = min(MAX_CELL_SIZE, MAX_MATRIX_SIZE / n_classes)
    label_width = CHARACTER_WIDTH * max(len(short_name(name)) for name in classes)
    ticks = class_ticks(classes, at=labels)
    if label_width > cell:
        ticks["tickangle"] = -90
    axis = {"type": "category", "constrain": "domain", "showgrid": False, "zeroline": False}
    figure.update_xaxes(**axis, **ticks, constraintoward="left", title="predicted")
    figure.update_yaxes(**axis, **ticks, constraintoward="top", title="actual")
    figure.update_yaxes(tickangle=0, autorange="reversed", scaleanchor="x", scaleratio=1)
    side = round(cell * n_classes) + label_width + 60
    return Chart(
        "confusion",
        "Confusion matrix of the stack on test images",
        figure,
        side,
        min_width=0 if n_classes <= MAX_NUMBERED_CLASSES / 2 else min(side, 700),
        max_width=side + 40,
        orders={
            title: _class_order([classes[i] for i in order])
            for title, order in confusion_orders(counts, support=support).items()
        },
    )


def confused_classes(facts: Facts) -> list[str]:
    """List the classes that the confusion matrix shows, in their order.

    All classes, or with very many classes those of the pairs that are confused most often, in
    either direction, as many as there is room for.
    """
    classes = facts.classes
    if len(classes) <= MAX_MATRIX_CLASSES:
        return classes
    pairs = Counter(
        tuple(sorted((row["actual"], row["predicted"])))
        for row in facts.confusion
        if row["actual"] != row["predicted"]
    )
    ranked = sorted(pairs, key=lambda pair: (-pairs[pair], pair))
    # Classes that are never confused come last.
    names = dict.fromkeys([name for pair in ranked for name in pair] + classes)
    shown = set(list(names)[:MAX_LABELED_CLASSES])
    return [name for name in classes if name in shown]


def confusion_orders(counts: np.ndarray, *, support: np.ndarray) -> dict[str, list[int]]:
    """Sort the classes of a confusion matrix in several ways.

    Args:
        counts: int array (n_classes, n_classes), actual by predicted.
        support: int array (n_classes,): test images of each class, also those whose predicted
            class is not in the matrix.

    Returns:
        Title -> positions of the classes. Classes that are confused with one another become
        neighbors by optimal leaf ordering of their average linkage (Bar-Joseph et al. 2001).
    """
    n_classes = len(counts)
    fractions = counts / np.maximum(support, 1)[:, None]
    recall = np.where(support > 0, np.diag(fractions), np.nan)  # NaN is sorted to the end
    orders = {
        "as listed": np.arange(n_classes),
        "lowest recall first": np.argsort(recall, kind="stable"),
        "most predicted first": np.argsort(-counts.sum(axis=0), kind="stable"),
    }
    if n_classes > 2:
        distances = 1 - (fractions + fractions.T) / 2
        np.fill_diagonal(distances, 0)
        tree = linkage(squareform(distances), method="average", optimal_ordering=True)
        orders["confused classes together"] = leaves_list(tree)
    return {title: order.tolist() for title, order in orders.items()}


def confusions_table(confusion: Rows) -> Table:
    """Tabulate the most frequent confusions."""
    counts = Counter((row["actual"], row["predicted"]) for row in confusion)
    totals = Counter(row["actual"] for row in confusion)
    wrong = [(pair, number) for pair, number in counts.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda item: (-item[1], item[0]))
    columns = [
        Column("actual"),
        Column("predicted"),
        Column("images", numeric=True),
        Column("fraction of the actual class", numeric=True),
    ]
    rows = [
        [
            Cell(actual, actual),
            Cell(predicted, predicted),
            number_cell(number),
            Cell(
                percent(number / totals[actual]),
                number / totals[actual],
                f"of {totals[actual]:,}",
            ),
        ]
        for (actual, predicted), number in wrong[:MAX_CONFUSIONS]
    ]
    return Table("The most frequent confusions", columns, rows)


def _class_order(classes: Sequence[str]) -> dict[str, Any]:
    """Build the layout changes that sort both axes in this order and reset the zoom."""
    labels = [text(name) for name in classes]
    ticks = class_ticks(classes, at=labels)
    changes: dict[str, Any] = {"xaxis.autorange": True, "yaxis.autorange": "reversed"}
    for axis in ("xaxis", "yaxis"):
        changes |= {
            f"{axis}.categoryorder": "array",
            f"{axis}.categoryarray": labels,
            f"{axis}.tickvals": ticks["tickvals"],
            f"{axis}.ticktext": ticks["ticktext"],
        }
    return changes
