"""Write the page of a hyperparameter search, which opens offline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classifold.reporting.environment import render
from classifold.reporting.figures import Chart
from classifold.reporting.formats import NOT_AVAILABLE, decimal, duration, percent
from classifold.reporting.search_charts import (
    search_history,
    search_importance,
    search_parallel,
    search_slices,
)
from classifold.reporting.tables import Cell, Column, Table
from classifold.runtime.atomic_files import new_file
from classifold.search.plan import Plan
from classifold.search.results import (
    Row,
    best_of,
    best_per_choice,
    importances,
)
from classifold.search.search_file import Search
from classifold.search.space import short_names

MAX_FAILURE_CHARACTERS = 60  # trials.csv has the whole reason


def write_search_page(path: Path, rows: Sequence[Row], plan: Plan) -> None:
    """Write the page; the file is replaced atomically.

    Args:
        path: HTML file to write; its folder is created if necessary.
        rows: rows of the trials that have ended.
        plan: plan of the search.
    """
    search = plan.search
    best = best_of(rows, search)
    page = render(
        "search.html",
        plan=plan,
        search=search,
        metric=search.metric.replace("_", " "),
        best=best,
        best_value=_format_value(best.value if best else None, search),
        n_of={
            state: sum(row.state == state for row in rows)
            for state in ("complete", "pruned", "failed")
        },
        seconds=sum(row.seconds for row in rows),
        charts=_charts(rows, plan),
        choices=_choices(rows, search),
        trials=_trials(rows, search),
    )
    with new_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _charts(rows: Sequence[Row], plan: Plan) -> dict[str, Chart]:
    """Draw the charts, by their names; charts without data are missing."""
    if sum(row.value is not None for row in rows) < 2:
        return {}
    charts = [search_history(rows, plan), search_slices(rows, plan), search_parallel(rows, plan)]
    if importance := importances(rows, plan.search):
        charts.append(search_importance(importance))
    return {chart.name: chart for chart in charts}


def _choices(rows: Sequence[Row], search: Search) -> list[Table]:
    """Tabulate the best trial of each choice, for every setting with choices."""
    names = short_names(search.space)
    best = best_of(rows, search)
    tables = []
    for path, table in best_per_choice(rows, search).items():
        tables.append(
            Table(
                f"The best trial of each {names[path]}",
                [
                    Column(names[path]),
                    Column(search.metric.replace("_", " "), numeric=True, subtitle="validation"),
                    Column("epoch", numeric=True),
                    Column("trial", numeric=True),
                    Column("trials", numeric=True, hint="completed trials with this choice"),
                ],
                [
                    [
                        Cell(choice, choice),
                        Cell(_format_value(row.value, search), row.value),
                        _whole(row.outcome["best_epoch"]),
                        _whole(row.trial),
                        _whole(_n_complete(rows, path, choice)),
                    ]
                    for choice, row in table.items()
                ],
                frozenset(choice for choice, row in table.items() if row is best),
            )
        )
    return tables


def _n_complete(rows: Sequence[Row], path: str, choice: str) -> int:
    return sum(row.value is not None and str(row.sampled[path]) == choice for row in rows)


def _trials(rows: Sequence[Row], search: Search) -> Table:
    """Tabulate every trial that has ended."""
    names = short_names(search.space)
    best = best_of(rows, search)
    metric = search.metric
    scored = next((row.outcome for row in rows if row.outcome), {})
    others = [key for key in scored if key.startswith("validation_") and metric not in key]
    columns = [
        Column("trial"),
        Column("state"),
        *(Column(name, numeric=search.space[path].choices is None) for path, name in names.items()),
        Column(metric.replace("_", " "), numeric=True, subtitle="validation"),
        *(
            Column(key.removeprefix("validation_").replace("_", " "), True, "validation")
            for key in others
        ),
        Column("accuracy", True, "train", "in the best epoch, on augmented training images"),
        Column("best epoch", True),
        Column("epochs", True),
        Column("time", True),
    ]
    table = [
        [
            _whole(row.trial),
            Cell(row.state, row.state, row.failure[:MAX_FAILURE_CHARACTERS]),
            *(_sampled(row.sampled[path]) for path in names),
            Cell(_format_value(row.value, search), row.value),
            *(Cell(decimal(row.outcome.get(key)), row.outcome.get(key)) for key in others),
            Cell(percent(row.outcome.get("train_accuracy")), row.outcome.get("train_accuracy")),
            _whole(row.outcome.get("best_epoch")),
            _whole(row.n_epochs),
            Cell(duration(row.seconds), row.seconds),
        ]
        for row in rows
    ]
    highlighted = frozenset({str(best.trial)}) if best else frozenset()
    return Table("Every trial", columns, table, highlighted)


def _format_value(value: float | None, search: Search) -> str:
    return percent(value) if search.metric == "accuracy" else decimal(value)


def _whole(number: int | None) -> Cell:
    return Cell(NOT_AVAILABLE if number is None else str(number), number)


def _sampled(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(f"{value:.4g}", value)
    return Cell(str(value), value if isinstance(value, int) else str(value))
