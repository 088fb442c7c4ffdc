"""Section "Robustness": scores on corrupted and on attacked test images."""

from collections.abc import Mapping
from itertools import product
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
    Cell,
    Column,
    Table,
    difference_cell,
    difference_column,
    name_cell,
    percent_cell,
    score_cell,
)

N_CORRUPTIONS = 15  # of Hendrycks and Dietterich (2019)
DASHES = {"pgd": "solid", "fgsm": "dash"}
SPREAD = 0.3  # of the error bars of all models beside one severity or epsilon, in steps of the axis


def robustness_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    measured = facts.metrics["robustness"]
    if "reason" in measured:
        return {"robustness": None}
    return {
        "robustness": {
            "table": robustness_table(facts),
            "corruptions": corruptions_table(facts),
            "severities": _curves(facts, {"solid": facts.severities}, "severity"),
            "attacks": _attacks(facts) if facts.attacks else None,
            "picture": file_to_uri(facts.folders.robustness / "corruptions.png", lossy=True),
            "applied": _describe_corruptions(facts),
        }
    }


def describe_robustness(facts: Facts) -> list[str]:
    """State the score of the stack on corrupted test images; nothing where there is none."""
    measured, metric = facts.metrics["robustness"], facts.main_metric
    if "reason" in measured:
        return []
    entry, key = measured["models"][STACK], f"corrupted_{metric.key}"
    return [
        f"Under {_count_corruptions(entry)} common corruptions: {metric.name} "
        f"{metric.score(entry[key])} ({metric.interval(entry[f'{key}_ci95'])}); on the same "
        f"{count(measured['n_images'], 'clean test image')} {metric.score(entry[metric.key])}."
    ]


def robustness_table(facts: Facts) -> Table:
    """Tabulate the scores on clean and on corrupted images, by model."""
    metric, models = facts.main_metric, _models(facts)
    columns = [
        Column("model"),
        Column(metric.name, numeric=True, subtitle="clean"),
        Column(metric.name, numeric=True, subtitle="corrupted", hint="mean over all corruptions"),
        Column("relative", numeric=True, hint="corrupted divided by clean"),
        difference_column(
            "difference to the stack",
            metric,
            hint="on the corrupted images, with its 95 % interval",
        ),
    ]
    rows = []
    for name, entry in models.items():
        versus = entry.get("corrupted_versus_stack")
        of_ratio = entry[f"relative_{metric.key}_ci95"]
        rows.append(
            [
                name_cell(name),
                *(
                    score_cell(metric, entry[key], note=metric.interval(entry[f"{key}_ci95"]))
                    for key in (metric.key, f"corrupted_{metric.key}")
                ),
                percent_cell(
                    entry[f"relative_{metric.key}"],
                    note=interval(of_ratio) if of_ratio else "",
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


def attacks_table(facts: Facts) -> Table:
    """Tabulate the scores on clean and on attacked images, by model and attack."""
    metric, rows = facts.main_metric, []
    epsilons = _positions(facts.attacks, "epsilon")
    for name in _models(facts):
        for attack in DASHES:
            chosen = [
                row for row in facts.attacks if (row["model"], row["attack"]) == (name, attack)
            ]
            cells = [
                score_cell(metric, score, note=metric.interval(ends))
                for row in sorted(chosen, key=lambda row: epsilons[int(row["epsilon"])])
                for score, *ends in [[float(row[key]) for key in ("score", "low", "high")]]
            ]
            rows.append([name_cell(name), Cell(attack.upper(), attack), *cells])
    columns = [
        Column(f"{epsilon}/255" if epsilon else "clean", numeric=True) for epsilon in epsilons
    ]
    title = f"{capitalize_first(metric.name)} under attack by perturbation bound"
    return Table(title, [Column("model"), Column("attack"), *columns], rows, frozenset({STACK}))


def _attacks(facts: Facts) -> dict[str, Any]:
    of_each = {
        dash: [row for row in facts.attacks if row["attack"] == attack]
        for attack, dash in DASHES.items()
    }
    epsilons = [epsilon for epsilon in _positions(facts.attacks, "epsilon") if epsilon]
    bounds = " to ".join(str(epsilon) for epsilon in dict.fromkeys((epsilons[0], epsilons[-1])))
    return {
        "chart": _curves(facts, of_each, "epsilon"),
        "table": attacks_table(facts),
        "bounds": bounds + (" gray level" if bounds == "1" else " gray levels"),
    }


def _count_corruptions(entry: Mapping[str, Any]) -> str:
    n_applied, n_all = len(entry["corruptions"]), N_CORRUPTIONS
    return f"all {n_all}" if n_applied == n_all else f"{n_applied} of the {n_all}"


def _describe_corruptions(facts: Facts) -> str:
    """State which corruptions were applied to which test images."""
    measured = facts.metrics["robustness"]
    entry = measured["models"][STACK]
    n_images, n_test = measured["n_images"], measured["n_test_images"]
    n_severities = count(len(entry["severities"]), "severity", plural="severities")
    sample = (
        f"all {count(n_test, 'test image')}"
        if n_images == n_test
        else f"a random sample of {n_images:,} of the {count(n_test, 'test image')}"
    )
    return (
        f"{capitalize_first(_count_corruptions(entry))} corruptions of Hendrycks and Dietterich "
        f"(2019), at {n_severities} each, were applied to {sample}."
    )


def _positions(rows: Rows, key: str) -> dict[int, int]:
    """Number the severities or epsilons, which the axis of a chart spaces evenly."""
    return {value: i for i, value in enumerate(sorted({int(row[key]) for row in rows}))}


def _models(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """The stack, then the models."""
    models = facts.metrics["robustness"]["models"]
    return {name: models[name] for name in (STACK, *facts.models)}


def _curves(facts: Facts, rows: Mapping[str, Rows], key: str) -> Chart:
    """Draw the score of each model over the severity or the perturbation bound.

    Args:
        facts: settings and results of the run.
        rows: dash of a line -> rows of `severities.csv` or `attacks.csv`.
        key: the column of the horizontal axis.
    """
    metric = facts.main_metric
    factor, unit = (100, PERCENT_AXIS) if metric.key == "accuracy" else (1, {})
    figure = new_figure()
    positions = _positions([row for of_dash in rows.values() for row in of_dash], key)
    curves = list(product(reversed([*facts.models, STACK]), rows))  # the stack is below
    for i, (name, dash) in enumerate(curves):
        chosen = [row for row in rows[dash] if row["model"] == name]
        scores, *limits = (
            [factor * float(row[column]) for row in chosen] for column in ("score", "low", "high")
        )
        color = BLUE if name == STACK else nth_color(facts.models.index(name) + 1)
        offset = SPREAD * (i / (len(curves) - 1) - 0.5)  # there are a model and the stack
        figure.add_scatter(
            name=text(name),
            legendgroup=name,
            showlegend=dash == "solid",
            x=[positions[int(row[key])] + offset for row in chosen],
            y=scores,
            error_y=error_bars(scores, list(zip(*limits, strict=True))) | {"color": color},
            mode="lines+markers",
            line={"color": color, "dash": dash, "width": 3 if name == STACK else 1.6},
            marker={"symbol": nth_symbol(i // len(rows)), "size": 7},
            customdata=[int(row[key]) for row in chosen],
            hovertemplate=f"%{{fullData.name}}, {key} %{{customdata}}: "
            f"%{{y:.{1 if unit else 3}f}}{unit.get('ticksuffix', '')}<extra></extra>",
        )
    title = "severity" if key == "severity" else "perturbation bound, in 1/255"
    figure.update_layout(legend={"traceorder": "reversed"})
    ticks = {"tickvals": list(positions.values()), "ticktext": list(map(str, positions))}
    figure.update_xaxes(title=title, **ticks)
    figure.update_yaxes(title=metric.name, **unit)
    label = f"{capitalize_first(metric.name)} of every model and the stack by {title}"
    height = 380 + LINE_HEIGHT * (len(facts.models) // 4)
    return Chart(f"robustness-{key}", label, figure, height)
