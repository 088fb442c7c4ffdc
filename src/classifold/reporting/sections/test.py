"""Section "Test": scores, calibration, certainty and mistakes of the stack on test images."""

from collections.abc import Mapping
from typing import Any

from classifold.data.predictions import STACK
from classifold.evaluation.outcomes import describe_absent_classes
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.sections.confusion import confusion_charts
from classifold.reporting.sections.label_counts import label_count_charts
from classifold.reporting.sections.mistakes import mistakes
from classifold.reporting.sections.reliability import reliability
from classifold.reporting.sections.slices import (
    describe_slices,
    scores_of_slices,
    slices_of_several_groups,
    slices_table,
)
from classifold.reporting.sections.uncertainty import uncertainty
from classifold.reporting.tables import Cell, Column, Table, decimal_cell, number_cell

MAX_WORST_CLASSES = 5


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
        "absent_classes": describe_absent_classes(facts.metrics["test"][STACK]),
        "temperature": describe_temperature(facts.metrics["test"][STACK]),
        "galleries": list(mistakes(facts)),
        **uncertainty(facts),
        **charts(facts),
    }


def lowest_f1(rows: Rows, *, n_classes: int) -> Rows:
    """Choose the classes with the lowest F1 below 1; of equal ones those with more images."""
    imperfect = [row for row in rows if float(row["f1"]) < 1]
    return sorted(imperfect, key=lambda row: (float(row["f1"]), -int(row["support"])))[:n_classes]


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


def describe_temperature(tested: Mapping[str, Any]) -> str:
    """Describe the effect of temperature scaling on the calibration error of test images."""
    before, after = tested["calibration_error_uncalibrated"], tested["calibration_error"]
    if after == before:
        return "Temperature scaling, fitted on validation images, did not change it."
    change = "lowered" if after < before else "raised"
    return f"Temperature scaling, fitted on validation images, {change} it from {before:.3f}."
