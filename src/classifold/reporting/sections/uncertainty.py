"""Prediction sets and abstention: what is guaranteed, and what test images show."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from scipy.stats import beta

from classifold.data.predictions import STACK
from classifold.pictures.palette import BLUE, VERMILION
from classifold.reporting.facts import Facts
from classifold.reporting.figures import (
    PERCENT_AXIS,
    Chart,
    new_figure,
    nth_color,
    percentages,
    text,
)
from classifold.reporting.formats import NOT_AVAILABLE, PERCENT, count, interval, percent
from classifold.reporting.full_sets import (
    describe_full_sets,
    describe_level,
    explain_full_sets,
    n_covered,
)
from classifold.reporting.sections.score_chart import error_bars
from classifold.reporting.tables import (
    Cell,
    Column,
    Table,
    decimal_cell,
    name_cell,
    number_cell,
    percent_cell,
)

MAX_MODEL_CURVES = 6  # besides the stack


def uncertainty(facts: Facts) -> dict[str, Any]:
    """Collect what the template of section "Test" shows about sets and abstention."""
    stack = facts.metrics["test"][STACK]
    shown: dict[str, Any] = {"sets": None, "abstention": None}
    if conformal := stack.get("conformal"):
        shown["sets"] = {
            "table": sets_table(facts),
            "classes": class_coverage_table(facts),
            "calibration": describe_calibration(conformal, task=facts.task),
        }
    if stack.get("risk_coverage"):
        shown["abstention"] = {
            "table": abstention_table(facts),
            "chart": risk_coverage(facts),
            "has_thresholds": bool(reached_accuracies(facts)),
        }
    return shown


def sets_table(facts: Facts) -> Table:
    """Tabulate the nominal and the empirical coverage of each model."""
    columns = [
        Column("model"),
        Column("level", numeric=True, subtitle="nominal coverage"),
        Column("empirical coverage", numeric=True, subtitle="test images"),
        Column("95 % interval", numeric=True),
        Column("mean size", numeric=True, subtitle="classes in a set"),
        Column("one class", numeric=True, subtitle="fraction of sets"),
    ]
    rows = []
    for name in (STACK, *_distinct_models(facts)):
        for level, found in facts.metrics["test"][name]["conformal"]["levels"].items():
            ends = found["coverage_ci95"]
            rows.append(
                [
                    name_cell(name),
                    Cell(describe_level(level), float(level)),
                    percent_cell(found["coverage"], n_images=found["n_images"]),
                    Cell(interval(ends) if ends else NOT_AVAILABLE, ends[0] if ends else None),
                    Cell(f"{found['mean_size']:.2f}", found["mean_size"]),
                    percent_cell(found["one_class_fraction"]),
                ]
            )
    return Table("Prediction sets on test images", columns, rows, frozenset({STACK}))


def class_coverage_table(facts: Facts) -> Table:
    """Tabulate the coverage of the stack's sets for the images of each class."""
    columns = [
        Column("class"),
        Column("level", numeric=True),
        Column("coverage", numeric=True),
        Column("95 % interval", numeric=True),
        Column("mean size", numeric=True),
        Column("images", numeric=True, subtitle="test images of the class"),
    ]
    rows = []
    for row in facts.set_rows:
        if not row["class"]:
            continue
        coverage, low, high, size = (
            float(row[key]) if row[key] else None
            for key in ("coverage", "low", "high", "mean_size")
        )
        ends = [low, high] if low is not None and high is not None else None
        rows.append(
            [
                Cell(row["class"], row["class"]),
                Cell(describe_level(row["level"]), float(row["level"])),
                percent_cell(coverage),
                Cell(interval(ends) if ends else NOT_AVAILABLE, low),
                Cell(NOT_AVAILABLE if size is None else f"{size:.2f}", size),
                number_cell(int(row["n_images"])),
            ]
        )
    return Table("Coverage of the stack's sets, by class", columns, rows)


def describe_calibration(conformal: Mapping[str, Any], *, task: str) -> list[str]:
    """Describe on which images sets were calibrated, and what this does to their guarantee.

    Args:
        conformal: of the stack, in `metrics/test.json`.
        task: `single` or `multi`.
    """
    n_images, levels = conformal["n_calibration_images"], conformal["levels"]
    full = explain_full_sets(
        _thresholds(conformal), n_images=n_images, split=conformal["calibrated_on"], task=task
    )
    if conformal["calibrated_on"] == "calibration":
        sentences = [
            f"The sets were calibrated on {count(n_images, 'image')} of the calibration split, on "
            "which nothing else was chosen, so the guarantee is exact for new images from the same "
            "source."
        ]
    elif conformal["calibrated_on"] == "train":
        sentences = [
            f"The sets were calibrated on out-of-fold predictions for {n_images:,} training "
            "images, on which nothing else was chosen. The networks that made these predictions "
            "were trained on fewer images than the final ones, so the sets tend to be a little too "
            "large."
        ]
    else:
        sentences = [
            f"The sets were calibrated on {count(n_images, 'validation image')}. The same images "
            "chose the epochs or the regularization of the models, and the temperatures, so the "
            "guarantee is not exact: the coverage may be somewhat lower."
        ]
        if not full:
            sentences.append(
                "To calibrate on images that choose nothing, set split.fractions.calibration: 0.1 "
                "in params.yaml and reduce the other fractions by as much, or set stack.folds: 5; "
                "then run 'dvc repro'."
            )
    for level, found in levels.items():
        if found["threshold"] and task == "single":
            # The coverage of sets that were calibrated on n images: Vovk 2012, arXiv:1209.2673.
            k = n_covered(level, n_images=n_images)
            low, high = beta(k, n_images + 1 - k).ppf([0.025, 0.975])
            sentences.append(
                f"At a level of {describe_level(level)}, {n_images:,} calibration images give a "
                f"coverage of {interval([low, high])} on many new images, in 95{PERCENT} of cases, "
                "or of the accuracy where that is higher."
            )
    return [*sentences, *full]


def abstention_table(facts: Facts) -> Table:
    """Tabulate the target accuracy and the accuracy of the stack at each threshold."""
    columns = [
        Column("target accuracy", numeric=True),
        Column("threshold", numeric=True, subtitle="of the confidence"),
        Column("with a prediction", numeric=True, subtitle="fraction of test images"),
        Column("accuracy", numeric=True, subtitle="of these images"),
        Column("95 % interval", numeric=True),
    ]
    rows = []
    for target, found in facts.metrics["test"][STACK]["risk_coverage"]["accuracies"].items():
        ends = found["accuracy_ci95"]
        rows.append(
            [
                Cell(describe_level(target), float(target)),
                decimal_cell(
                    found["threshold"], note="not reached" if found["threshold"] is None else ""
                ),
                percent_cell(
                    found["predicted_fraction"], note=count(found["n_predicted"], "image")
                ),
                percent_cell(found["accuracy"]),
                Cell(interval(ends) if ends else NOT_AVAILABLE, ends[0] if ends else None),
            ]
        )
    return Table("Abstention of the stack", columns, rows)


def risk_coverage(facts: Facts) -> Chart:
    """Draw the accuracy of the most confident predictions over their fraction, by model."""
    figure = new_figure()
    names = [STACK, *_distinct_models(facts)[:MAX_MODEL_CURVES]]
    for name in reversed(names):  # the stack is on top
        rows = [row for row in facts.risk_coverage if row["model"] == name]
        figure.add_scatter(
            name=text(name),
            x=percentages(float(row["predicted_fraction"]) for row in rows),
            y=percentages(float(row["accuracy"]) for row in rows),
            customdata=[float(row["threshold"]) for row in rows],
            mode="lines",
            line={
                "color": BLUE if name == STACK else nth_color(facts.models.index(name) + 2),
                "width": 3 if name == STACK else 1.4,
            },
            hovertemplate=f"%{{fullData.name}}: %{{y:.1f}}{PERCENT} of %{{x:.1f}}{PERCENT} of the "
            "images, confidence %{customdata:.3f} or more<extra></extra>",
        )
    if reached := reached_accuracies(facts):
        _draw_thresholds(figure, reached)
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(title="images with a prediction", range=[-2, 102], **PERCENT_AXIS)
    figure.update_yaxes(title=f"accuracy of these images{_of_all(facts)}", **PERCENT_AXIS)
    label = "Accuracy of the most confident predictions, over their fraction of the test images"
    return Chart("risk-coverage", label, figure, 420)


def reached_accuracies(facts: Facts) -> dict[str, Any]:
    """The target accuracies with a threshold of the stack that some test images reach."""
    accuracies = facts.metrics["test"][STACK]["risk_coverage"]["accuracies"]
    return {target: found for target, found in accuracies.items() if found["n_predicted"]}


def _draw_thresholds(figure: go.Figure, reached: Mapping[str, Any]) -> None:
    values = percentages(found["accuracy"] for found in reached.values())
    ends = [percentages(found["accuracy_ci95"]) for found in reached.values()]
    figure.add_scatter(
        name="thresholds",
        x=percentages(found["predicted_fraction"] for found in reached.values()),
        y=values,
        mode="markers",
        marker={"color": VERMILION, "symbol": "diamond", "size": 12},
        error_y=error_bars(values, ends),
        customdata=[describe_level(target) for target in reached],
        hovertemplate=f"threshold for %{{customdata}}: %{{y:.1f}}{PERCENT} of "
        f"%{{x:.1f}}{PERCENT} of the images<extra></extra>",
    )


def _distinct_models(facts: Facts) -> list[str]:
    """List the models except those that are the stack, such as its only member."""
    tested = facts.metrics["test"]
    return [
        name for name in facts.models if tested[name]["versus_stack"]["difference_ci95"] != [0, 0]
    ]


def _of_all(facts: Facts) -> str:
    return " (all labels correct)" if facts.task == "multi" else ""


def describe_coverage(facts: Facts) -> list[str]:
    """State the empirical coverage and size of the stack's sets, one sentence per level."""
    conformal = facts.metrics["test"][STACK].get("conformal")
    if not conformal:
        return []
    measured = [
        f"Prediction sets at a level of {describe_level(level)}: empirical coverage "
        f"{percent(found['coverage'])} ({interval(found['coverage_ci95'])}), "
        f"{found['mean_size']:.2f} classes in the mean."
        for level, found in conformal["levels"].items()
        if found["coverage"] is not None
    ]
    n_images = conformal["n_calibration_images"]
    reasons = describe_full_sets(_thresholds(conformal), n_images=n_images, task=facts.task)
    return [*measured, *reasons]


def _thresholds(conformal: Mapping[str, Any]) -> dict[str, float]:
    return {level: found["threshold"] for level, found in conformal["levels"].items()}
