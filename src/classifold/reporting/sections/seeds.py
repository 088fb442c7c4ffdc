"""How much scores vary with the seed of training, and which models differ by more."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from classifold.pictures.palette import GRAY
from classifold.reporting.facts import Facts
from classifold.reporting.figures import percentages, text
from classifold.reporting.formats import NOT_AVAILABLE, PERCENT, MainMetric, capitalize_first, count
from classifold.reporting.tables import (
    Cell,
    Column,
    Table,
    difference_cell,
    difference_column,
    name_cell,
    number_cell,
    score_cell,
)


def seeds(facts: Facts) -> dict[str, Any] | None:
    """Collect what the template of section "Models" shows about seeds; None without several."""
    if not any("seeds" in facts.metrics["models"][name] for name in facts.models):
        return None
    pairs = _pairs(facts)
    return {
        "table": seeds_table(facts),
        "differences": differences_table(facts) if pairs else None,
        "statement": describe_differences(pairs) if pairs else None,
    }


def seeds_table(facts: Facts) -> Table:
    """Tabulate the spread of validation and test scores between seeds."""
    metric = facts.main_metric
    half = " at 0.5" if facts.task == "multi" else ""
    columns = [Column("model"), Column("seeds", numeric=True)]
    columns += _spread_columns(metric, f"val., {facts.metrics['split']['n_validation']:,}{half}")
    if facts.n_test:
        columns += _spread_columns(metric, f"test, {facts.n_test:,}")
        hint = "its score, and how that varies with the test images"
        columns.append(
            Column("first seed", numeric=True, subtitle="test, 95 % interval", hint=hint)
        )
    rows = []
    for name in facts.models:
        spread = facts.metrics["models"][name].get("seeds")
        if spread is None:
            continue
        row = [name_cell(name), number_cell(spread["n"]), *_spread_cells(metric, spread)]
        if facts.n_test:
            tested = facts.metrics["test"][name]
            ends = metric.interval(tested[f"{metric.key}_ci95"], n_images=facts.n_test)
            row += _spread_cells(metric, tested["seeds"], n_images=facts.n_test)
            row.append(score_cell(metric, tested[metric.key], n_images=facts.n_test, note=ends))
        rows.append(row)
    return Table(
        f"{capitalize_first(metric.name)} of models that were trained from several seeds",
        columns,
        rows,
    )


def differences_table(facts: Facts) -> Table:
    """Tabulate the differences between the mean scores over seeds of two models."""
    metric = facts.main_metric
    columns = [
        Column("model"),
        Column("compared with"),
        difference_column("difference", metric, hint="of the means over seeds, on test images"),
        Column("95 % interval", numeric=True, hint="for other seeds and other images"),
        Column("larger than both", hint="than the variation with seeds and with images"),
    ]
    rows = []
    for later, earlier, versus in _pairs(facts):
        ends = versus["difference_ci95"]
        verdict = "yes" if versus["larger_than_both"] else "no"
        rows.append(
            [
                name_cell(later),
                name_cell(earlier),
                difference_cell(metric, versus["difference"]),
                Cell(metric.differences(ends), ends[0]),
                Cell(verdict, verdict),
            ]
        )
    return Table("Differences between mean scores over seeds", columns, rows)


def draw_seeds(figure: go.Figure, facts: Facts) -> None:
    """Add the scores of other seeds to a chart of test scores, as open points."""
    metric = facts.main_metric
    unit, number = (PERCENT, ".2f") if metric.key == "accuracy" else ("", ".3f")
    points = [
        (text(name), seed, score)
        for name in facts.models
        for seed, score in facts.metrics["test"][name].get("seeds", {}).get("scores", {}).items()
        if int(seed) != facts.params["models"][name]["seed"]
    ]
    if not points:
        return
    names, other_seeds, scores = zip(*points, strict=True)
    figure.add_scatter(
        x=percentages(scores) if unit else scores,
        y=names,
        mode="markers",
        marker={"color": GRAY, "size": 7, "symbol": "circle-open"},
        customdata=other_seeds,
        hovertemplate=f"%{{y}}, seed %{{customdata}}: %{{x:{number}}}{unit}<extra></extra>",
    )


def describe_spread(spread: Mapping[str, Any], metric: MainMetric, *, n_images: int) -> str:
    """Describe the range of test scores, such as "5 seeds: 80.1 to 83.2 %"."""
    ends = metric.interval([spread["min"], spread["max"]], n_images=n_images)
    return f"{count(spread['n'], 'seed')}: {ends}"


def describe_differences(pairs: list[tuple[str, str, Mapping[str, Any]]]) -> str:
    """State which models differ by more than seeds and images explain."""
    differing = [
        f"{earlier} and {later}" for later, earlier, versus in pairs if versus["larger_than_both"]
    ]
    if not differing:
        return "No difference between two models is larger than both sources of variation."
    return f"Larger than both sources of variation: the difference of {'; of '.join(differing)}."


def _pairs(facts: Facts) -> list[tuple[str, str, Mapping[str, Any]]]:
    """The later model of each compared pair, the earlier one, and their comparison."""
    return [
        (later, earlier, versus)
        for later in facts.models
        for earlier, versus in facts.metrics["test"][later]
        .get("seeds", {})
        .get("versus", {})
        .items()
    ]


def _spread_columns(metric: MainMetric, images: str) -> list[Column]:
    return [
        Column("mean", numeric=True, subtitle=images),
        Column("standard deviation", numeric=True, subtitle=metric.unit, hint="between seeds"),
        Column("range", numeric=True, subtitle=images),
    ]


def _spread_cells(
    metric: MainMetric, spread: Mapping[str, Any], *, n_images: int = 0
) -> list[Cell]:
    sd = spread["sd"]
    ends = metric.interval([spread["min"], spread["max"]], n_images=n_images)
    return [
        score_cell(metric, spread["mean"], n_images=n_images),
        Cell(NOT_AVAILABLE if sd is None else metric.difference(sd).lstrip("+"), sd),
        Cell(ends, spread["min"]),
    ]
