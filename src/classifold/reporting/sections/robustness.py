"""Section "Robustness": scores on corrupted and on attacked test images."""

from collections.abc import Mapping
from typing import Any

from classifold.data.predictions import STACK
from classifold.pictures.palette import BLUE
from classifold.reporting.facts import Facts, Rows
from classifold.reporting.figures import (
    LINE_HEIGHT,
    PERCENT_AXIS,
    Chart,
    new_figure,
    nth_color,
    nth_symbol,
    text,
)
from classifold.reporting.formats import capitalize_first, count, interval
from classifold.reporting.pictures import file_to_uri
from classifold.reporting.sections.score_chart import error_bars
from classifold.reporting.tables import (
    Column,
    Table,
    difference_cell,
    difference_column,
    name_cell,
    percent_cell,
    score_cell,
)

DASHES = {"pgd": "solid", "fgsm": "dash"}


def robustness_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    measured = facts.metrics["robustness"]
    if "reason" in measured:
        return {"robustness": None}
    attacks = {
        kind: [row for row in facts.attacks if row["attack"] == kind]
        for kind in DASHES
        if facts.attacks
    }
    return {
        "robustness": {
            "table": robustness_table(facts),
            "corruptions": corruptions_table(facts),
            "severities": _curves(facts, {"solid": facts.severities}, "severity"),
            "attacks": _curves(facts, {DASHES[k]: rows for k, rows in attacks.items()}, "epsilon")
            if attacks
            else None,
            "picture": file_to_uri(facts.folders.robustness / "corruptions.png", lossy=True),
        }
    }


def describe_robustness(facts: Facts) -> list[str]:
    """State the score of the stack on corrupted test images; nothing where there is none."""
    measured, metric = facts.metrics["robustness"], facts.main_metric
    if "reason" in measured:
        return []
    entry, key = measured["models"][STACK], f"corrupted_{metric.key}"
    return [
        f"Under {count(len(entry['corruptions']), 'common corruption')}, such as noise, blur and "
        f"fog: {metric.name} {metric.score(entry[key])} ({metric.interval(entry[f'{key}_ci95'])}); "
        f"on the same {count(measured['n_images'], 'test image')} as they are "
        f"{metric.score(entry[metric.key])}."
    ]


def robustness_table(facts: Facts) -> Table:
    """Tabulate the scores on the images as they are and on corrupted ones, by model."""
    metric, models = facts.main_metric, _models(facts)
    columns = [
        Column("model"),
        Column(metric.name, numeric=True, subtitle="as they are"),
        Column(metric.name, numeric=True, subtitle="corrupted", hint="mean over all corruptions"),
        Column("relative", numeric=True, hint="corrupted divided by as they are"),
        difference_column(
            "difference to the stack",
            metric,
            hint="on the corrupted images, with its 95 % interval",
        ),
    ]
    rows = []
    for name, entry in models.items():
        versus = entry.get("corrupted_versus_stack")
        rows.append(
            [
                name_cell(name),
                *(
                    score_cell(metric, entry[key], note=metric.interval(entry[f"{key}_ci95"]))
                    for key in (metric.key, f"corrupted_{metric.key}")
                ),
                percent_cell(
                    entry[f"relative_{metric.key}"],
                    note=interval(entry[f"relative_{metric.key}_ci95"]),
                ),
                difference_cell(
                    metric,
                    versus and versus["difference"],
                    note=metric.differences(versus["difference_ci95"]) if versus else "",
                ),
            ]
        )
    return Table(
        f"{capitalize_first(metric.name)} on corrupted test images",
        columns,
        rows,
        highlighted=frozenset({STACK}),
    )


def corruptions_table(facts: Facts) -> Table:
    """Tabulate the mean over severities of each corruption, a column per model."""
    models = _models(facts)
    rows = [
        [
            name_cell(corruption.replace("_", " ")),
            *(
                score_cell(facts.main_metric, one["corruptions"][corruption])
                for one in models.values()
            ),
        ]
        for corruption in models[STACK]["corruptions"]
    ]
    columns = [Column("corruption"), *(Column(name, numeric=True) for name in models)]
    title = f"{capitalize_first(facts.main_metric.name)} by corruption, mean over severities"
    return Table(title, columns, rows)


def _models(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """The stack, then the models."""
    models = facts.metrics["robustness"]["models"]
    return {name: models[name] for name in (STACK, *facts.models)}


def _curves(facts: Facts, rows: Mapping[str, Rows], key: str) -> Chart:
    """Draw the score of each model over a severity or a largest change.

    Args:
        facts: settings and results of the run.
        rows: dash of a line -> rows of `severities.csv` or `attacks.csv`.
        key: the column of the horizontal axis.
    """
    metric = facts.main_metric
    factor, unit = (100, PERCENT_AXIS) if metric.key == "accuracy" else (1, {})
    figure = new_figure()
    for position, name in enumerate(reversed([*facts.models, STACK])):  # the stack is below
        for dash, of_dash in rows.items():
            chosen = [row for row in of_dash if row["model"] == name]
            scores, *limits = (
                [factor * float(row[column]) for row in chosen]
                for column in ("score", "low", "high")
            )
            color = BLUE if name == STACK else nth_color(facts.models.index(name) + 1)
            figure.add_scatter(
                name=text(name),
                legendgroup=name,
                showlegend=dash == "solid",
                x=[int(row[key]) for row in chosen],
                y=scores,
                error_y=error_bars(scores, list(zip(*limits, strict=True))) | {"color": color},
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 3 if name == STACK else 1.6},
                marker={"symbol": nth_symbol(position), "size": 7},
                hovertemplate=f"%{{fullData.name}}, {key} %{{x}}: %{{y:.{1 if unit else 3}f}}"
                f"{unit.get('ticksuffix', '')}<extra></extra>",
            )
    title = "severity" if key == "severity" else "largest change of a value, in 1/255"
    figure.update_layout(legend={"traceorder": "reversed"})
    figure.update_xaxes(title=title, tick0=0, dtick=1)
    figure.update_yaxes(title=metric.name, **unit)
    label = f"{capitalize_first(metric.name)} of every model and the stack by {title}"
    height = 380 + LINE_HEIGHT * (len(facts.models) // 4)
    return Chart(f"robustness-{key}", label, figure, height)
