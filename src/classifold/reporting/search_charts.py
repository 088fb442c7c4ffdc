"""The charts of a search: history, importance, slices, parallel coordinates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.visualization import plot_parallel_coordinate
from plotly.subplots import make_subplots

from classifold.reporting.figures import (
    BLUE,
    GRAY,
    LINE_HEIGHT,
    VERMILION,
    Chart,
    layout,
    new_figure,
    text,
)
from classifold.searching.plan import Plan
from classifold.searching.results import Row, best_of, told_study
from classifold.searching.search_file import Search
from classifold.searching.space import in_words, label, short_names

SLICES_A_ROW = 3
SLICE_HEIGHT = 300  # pixels
AXIS_WIDTH = 150  # of parallel coordinates
FIRST_COLOUR, LAST_COLOUR = (148, 184, 207), (213, 94, 0)  # both are seen on light and on dark


def search_history(rows: Sequence[Row], plan: Plan) -> Chart:
    """The value of every complete trial, and the best so far; below, trials that have none."""
    figure = new_figure()
    search = plan.search
    complete = _complete(rows)
    best_so_far = [
        best.value
        for n in range(1, len(complete) + 1)
        if (best := best_of(complete[:n], search)) is not None
    ]
    figure.add_scatter(
        name="trial",
        x=[row.trial for row in complete],
        y=[row.value for row in complete],
        mode="markers",
        marker={"color": BLUE, "size": 8, "opacity": 0.75},
        customdata=[text(in_words(row.drawn)) for row in complete],
        hovertemplate="trial %{x}: %{y:.4f}<br>%{customdata}<extra></extra>",
    )
    figure.add_scatter(
        name="best so far",
        x=[row.trial for row in complete],
        y=best_so_far,
        mode="lines",
        line={"color": VERMILION, "width": 1.8, "shape": "hv"},
        hoverinfo="skip",
    )
    figure.update_xaxes(title="trial", range=[0.3, plan.n_trials + 0.7])
    figure.update_yaxes(title=_metric(search))
    label_ = f"{_metric(search)} of every trial, and the best so far"
    return Chart("history", label_, figure, 340)


def search_importance(shares: Mapping[str, float]) -> Chart:
    """How much of the variance each setting explains.

    Args:
        shares: of paths, see `importances`.
    """
    names = short_names(list(shares))
    paths = sorted(shares, key=lambda path: shares[path])
    figure = new_figure(showlegend=False)
    figure.add_bar(
        x=[shares[path] for path in paths],
        y=[text(names[path]) for path in paths],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{shares[path]:.0%}" for path in paths],
        textposition="outside",
        textfont={"color": GRAY},
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="share of the variance", tickformat=".0%", range=[0, 1.08])
    figure.update_yaxes(type="category", showgrid=False)
    height = 90 + LINE_HEIGHT * len(paths)
    return Chart("importance", "How much each setting matters", figure, height)


def search_slices(rows: Sequence[Row], plan: Plan) -> Chart:
    """The value over each setting alone; the best trial stands out."""
    search, complete = plan.search, _complete(rows)
    names = short_names(list(search.space))
    n_columns = min(len(names), SLICES_A_ROW)
    n_rows = math.ceil(len(names) / SLICES_A_ROW)
    figure = make_subplots(
        rows=n_rows, cols=n_columns, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.3 / n_rows,
    )  # fmt: skip
    figure.update_layout(**layout(showlegend=False))
    best = best_of(complete, search)
    for n, path in enumerate(search.space):
        place = {"row": n // SLICES_A_ROW + 1, "col": n % SLICES_A_ROW + 1}
        figure.add_scatter(
            x=[_position(row.drawn[path]) for row in complete],
            y=[row.value for row in complete],
            mode="markers",
            marker={
                "color": [VERMILION if row is best else BLUE for row in complete],
                "symbol": ["diamond" if row is best else "circle" for row in complete],
                "size": [12 if row is best else 8 for row in complete],
                "opacity": 0.75,
            },
            customdata=[[row.trial, text(in_words(row.drawn))] for row in complete],
            hovertemplate="trial %{customdata[0]}: %{y:.4f}<br>%{customdata[1]}<extra></extra>",
            **place,
        )
        figure.update_xaxes(title=text(names[path]), **_axis(search, path), **place)
        if place["col"] == 1:
            figure.update_yaxes(title=_metric(search), **place)
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    label_ = f"{_metric(search)} over each setting"
    return Chart("slices", label_, figure, SLICE_HEIGHT * n_rows, min_width=220 * n_columns)


def search_parallel(rows: Sequence[Row], plan: Plan) -> Chart:
    """A line a trial through all of its settings, the better the redder; drawn by Optuna."""
    names = {path: text(name) for path, name in short_names(list(plan.search.space)).items()}
    # Plotly reads some HTML: text is escaped before Optuna puts it anywhere.
    study = told_study(
        rows,
        plan.search,
        name=lambda path: names[path],
        choice=lambda choice: text(choice) if isinstance(choice, str) else choice,
    )
    figure = plot_parallel_coordinate(study, target_name=_metric(plan.search))
    *lines, scale = figure.data  # from the worst trial to the best
    shades = np.linspace(FIRST_COLOUR, LAST_COLOUR, len(lines)).round().astype(int)
    for line, shade in zip(lines, shades, strict=True):
        line.update(line={"color": f"rgb({','.join(map(str, shade))})", "width": 1.8}, opacity=0.85)
    scale.visible = False
    figure.update_layout(**layout(title=None, showlegend=False))
    figure.update_layout(margin={"l": 60, "r": 60, "t": 20, "b": 20})
    figure.update_xaxes(automargin=True)
    return Chart(
        "parallel",
        "Every trial as a line through its settings",
        figure,
        380,
        min_width=AXIS_WIDTH * (len(names) + 1),
    )


def _complete(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.value is not None]


def _metric(search: Search) -> str:
    return f"validation {search.metric.replace('_', ' ')}"


def _position(value: Any) -> Any:
    """Where a value stands on its axis: text as it is, and no number for text that looks so."""
    return text(value) if isinstance(value, str | bool) or value is None else value


def _axis(search: Search, path: str) -> dict[str, Any]:
    drawn = search.space[path]
    if drawn.choices is None:
        return {"type": "log", "exponentformat": "power"} if drawn.log else {"type": "linear"}
    order = [_position(label(choice)) for choice in drawn.choices]
    return {"type": "category", "categoryorder": "array", "categoryarray": order}
