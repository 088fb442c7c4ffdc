"""Section "Test": scores, calibration and mistakes of the stack on test images."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from classifold.data.image_table import LABEL_SEPARATOR
from classifold.data.predictions import STACK
from classifold.evaluation.intervals import accuracy_interval
from classifold.pictures.examples import shorten
from classifold.pictures.palette import BLUE, GRAY
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import PERCENT_AXIS, Chart, layout, nth_color, percentages, text
from classifold.reporting.formats import PERCENT, MainMetric, capitalize_first, percent
from classifold.reporting.pictures import MAX_CHARACTERS, Picture, thumbnails
from classifold.reporting.sections.confusion import confusion_charts
from classifold.reporting.sections.label_counts import label_count_charts
from classifold.reporting.sections.score_chart import error_bars, score_points
from classifold.reporting.tables import Cell, Column, Table, decimal_cell, number_cell

MAX_WORST_CLASSES = 5
MAX_MISTAKES = 12  # per gallery

# Kinds of slices.csv -> by what test images are grouped.
SLICES = {
    "brightness": "mean brightness, in thirds",
    "mode": "color mode of the original file (L is grayscale, P is palette)",
    "filter": "the reason for which the filter would exclude them if they were not official",
    "duplicates": "whether they have a duplicate among the training images",
}


def test_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    if not facts.n_test:
        return {}
    slices = slices_of_several_groups(facts.slices)
    worst = lowest_f1(facts.per_class, n_classes=MAX_WORST_CLASSES)
    charts = confusion_charts if facts.task == "single" else label_count_charts
    return {
        "worst": per_class_table(worst, caption="The classes with the lowest F1"),
        "per_class": per_class_table(facts.per_class, caption="Every class"),
        "slices": scores_of_slices(facts, slices) if slices else None,
        "slices_table": slices_table(slices, facts.main_metric),
        "slice_kinds": describe_slices(list(dict.fromkeys(row["slice"] for row in slices))),
        "reliability": reliability(facts.calibration, task=facts.task),
        "temperature": describe_temperature(facts.metrics["test"][STACK]),
        "galleries": list(_mistakes(facts)),
        **charts(facts),
    }


def lowest_f1(rows: Rows, *, n_classes: int) -> Rows:
    """Choose the classes with the lowest F1 below 1; of equal ones those with more images."""
    imperfect = [row for row in rows if float(row["f1"]) < 1]
    return sorted(imperfect, key=lambda row: (float(row["f1"]), -int(row["support"])))[:n_classes]


def slices_of_several_groups(rows: Rows) -> Rows:
    """Drop the slices of `slices.csv` that hold all images: the only group of their kind."""
    kinds = Counter(row["slice"] for row in rows)
    return [row for row in rows if kinds[row["slice"]] > 1]


def per_class_table(rows: Rows, *, caption: str) -> Table:
    """Tabulate precision, recall, F1 and support; with several labels per image also more.

    Args:
        rows: rows of `per_class.csv`.
        caption: caption of the table.
    """
    titles = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if rows and "average_precision" in rows[0]:
        titles |= {"average_precision": "average precision", "class_threshold": "class threshold"}
    columns = [
        Column("class"),
        *(Column(title, numeric=True) for title in titles.values()),
        Column("support", numeric=True, subtitle="test images"),
    ]
    body = [
        [
            Cell(row["class"], row["class"]),
            *(decimal_cell(float(row[name]) if row[name] else None) for name in titles),
            number_cell(int(row["support"])),
        ]
        for row in rows
    ]
    return Table(caption, columns, body)


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


def describe_temperature(tested: Mapping[str, Any]) -> str:
    """Describe the effect of temperature scaling on the calibration error of test images."""
    before, after = tested["calibration_error_uncalibrated"], tested["calibration_error"]
    if after == before:
        return "Temperature scaling, fitted on validation images, did not change it."
    change = "lowered" if after < before else "raised"
    return f"Temperature scaling, fitted on validation images, {change} it from {before:.3f}."


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


def _mistakes(facts: Facts) -> Iterator[tuple[str, list[Picture]]]:
    """Show the most confident mistakes of the stack, in galleries with a title."""
    groups = {"": facts.mistakes}
    if facts.task == "multi":
        groups = {
            "False negatives": [row for row in facts.mistakes if row["positive"] == "true"],
            "False positives": [row for row in facts.mistakes if row["positive"] == "false"],
        }
    predictions = {row["id"]: row for row in facts.predictions[STACK]}
    picture = _mistake if facts.task == "single" else _multi_label_mistake
    for title, rows in groups.items():
        shown = rows[:MAX_MISTAKES]
        uris = thumbnails(facts.folders.ingested, [row["id"] for row in shown])
        if shown:
            yield title, [picture(uris[row["id"]], row, predictions[row["id"]]) for row in shown]


def _mistake(uri: str, row: Mapping[str, str], prediction: Mapping[str, Any]) -> Picture:
    lines = [
        f"predicted: {row['predicted']} (probability {percent(float(row['probability']))})",
        f"actual: {row['label']} (probability {percent(prediction['label_probability'])})",
        row["id"],
    ]
    alt = f"{row['id']}, labeled {row['label']}, predicted {row['predicted']}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in lines])


def _multi_label_mistake(
    uri: str, row: Mapping[str, str], prediction: Mapping[str, Any]
) -> Picture:
    actual, predicted = (
        prediction[key].replace(LABEL_SEPARATOR, ", ") or "none" for key in ("label", "predicted")
    )
    lines = [
        f"{row['class']} (probability {percent(float(row['probability']))})",
        f"actual: {actual}",
        f"predicted: {predicted}",
        row["id"],
    ]
    alt = f"{row['id']}, labeled {actual}, predicted {predicted}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in lines])
