"""Scores of the stack on groups of test images."""

from collections import Counter
from collections.abc import Sequence

from classifold.data.predictions import STACK
from classifold.pictures.palette import GRAY
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import Chart, nth_color, percentages, text
from classifold.reporting.formats import MainMetric, capitalize_first
from classifold.reporting.sections.score_chart import score_points
from classifold.reporting.tables import Cell, Column, Table, number_cell

# Kinds of slices.csv -> by what test images are grouped.
SLICES = {
    "brightness": "mean brightness, in thirds",
    "mode": "color mode of the original file (L is grayscale, P is palette)",
    "filter": "the reason for which the filter would exclude them if they were not official",
    "duplicates": "whether they have a duplicate among the training images",
}


def slices_of_several_groups(rows: Rows) -> Rows:
    """Drop the slices of `slices.csv` that hold all images: the only group of their kind."""
    kinds = Counter(row["slice"] for row in rows)
    return [row for row in rows if kinds[row["slice"]] > 1]


def slices_table(rows: Rows, metric: MainMetric) -> Table:
    """Tabulate the score of the stack on groups of test images."""
    columns = [
        Column("grouped by"),
        Column("group"),
        Column("images", numeric=True),
        Column(metric.name, numeric=True),
        Column("95 % interval", numeric=True),
    ]
    body = []
    for row in rows:
        score, low, high = (float(row[key]) for key in (metric.key, "low", "high"))
        body.append(
            [
                Cell(row["slice"], row["slice"]),
                Cell(row["value"].replace("_", " "), row["value"]),
                number_cell(int(row["n_images"])),
                Cell(metric.score(score), score),
                Cell(metric.interval([low, high]), low),
            ]
        )
    return Table("Scores of the stack on groups of test images", columns, body)


def describe_slices(kinds: Sequence[str]) -> str:
    """Describe how test images are grouped, by the kinds of `slices.csv`."""
    return f"Test images are grouped by {'; by '.join(SLICES[kind] for kind in kinds)}."


def scores_of_slices(facts: Facts, rows: Rows) -> Chart:
    """Draw the score of the stack on groups of test images; dotted, on all of them.

    Args:
        facts: settings and results of the run.
        rows: rows of `slices.csv`, those of a kind together.
    """
    metric = facts.main_metric
    kinds = list(dict.fromkeys(row["slice"] for row in rows))
    figure = score_points(
        [text(f"{row['slice']}: {row['value'].replace('_', ' ')}") for row in rows],
        [float(row[metric.key]) for row in rows],
        [[float(row["low"]), float(row["high"])] for row in rows],
        colors=[nth_color(kinds.index(row["slice"])) for row in rows],
        metric=metric,
    )
    whole = facts.metrics["test"][STACK][metric.key]
    if metric.key == "accuracy":
        (whole,) = percentages([whole])
    figure.add_vline(x=whole, line={"color": GRAY, "dash": "dot", "width": 1.2})
    label = f"{capitalize_first(metric.name)} of the stack on groups of test images"
    return Chart("slices", label, figure, 110 + 28 * len(rows))
