"""Charts of a search: history, importance, slices, parallel coordinates."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from plotly.subplots import make_subplots

from classifold.pictures.palette import BLUE, GRAY, VERMILION
from classifold.reporting.figures import (
    LINE_HEIGHT,
    PERCENT_AXIS,
    Chart,
    layout,
    new_figure,
    percentages,
    text,
)
from classifold.reporting.formats import PERCENT
from classifold.search.plan import Plan
from classifold.search.results import Row, best_of
from classifold.search.search_file import Distribution, Search
from classifold.search.space import choice_label, format_values, short_names

SLICES_PER_ROW = 3  # at most
N_TICKS = 4  # number of ticks of a range
SLICE_HEIGHT = 300  # pixels
AXIS_WIDTH = 150  # width per axis of parallel coordinates, in pixels
FIRST_COLOR, LAST_COLOR = (148, 184, 207), (213, 94, 0)  # both are visible on light and on dark


def search_history(rows: Sequence[Row], plan: Plan) -> Chart:
    """Draw the value of every completed trial, and the best value so far."""
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
        customdata=[text(format_values(row.sampled)) for row in complete],
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


def search_importance(importance: Mapping[str, float]) -> Chart:
    """Draw the fraction of the variance that each setting explains.

    Args:
        importance: path of a setting -> fraction, see `importances`.
    """
    names = short_names(importance)
    paths = sorted(importance, key=lambda path: importance[path])
    figure = new_figure(showlegend=False)
    figure.add_bar(
        x=percentages(importance[path] for path in paths),
        y=[text(names[path]) for path in paths],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{100 * importance[path]:.0f}{PERCENT}" for path in paths],
        textposition="outside",
        textfont={"color": GRAY},
        cliponaxis=False,
        hovertemplate=f"%{{y}}: %{{x:.1f}}{PERCENT}<extra></extra>",
    )
    figure.update_xaxes(title="fraction of the variance", range=[0, 108], **PERCENT_AXIS)
    figure.update_yaxes(type="category", showgrid=False)
    height = 90 + LINE_HEIGHT * len(paths)
    return Chart("importance", "Importance of each setting", figure, height)


def search_slices(rows: Sequence[Row], plan: Plan) -> Chart:
    """Draw the value over each single setting; the best trial is highlighted."""
    search, complete = plan.search, _complete(rows)
    names = short_names(search.space)
    n_rows = math.ceil(len(names) / SLICES_PER_ROW)
    n_columns = math.ceil(len(names) / n_rows)
    figure = make_subplots(
        rows=n_rows, cols=n_columns, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.3 / n_rows,
    )  # fmt: skip
    figure.update_layout(**layout(showlegend=False))
    best = best_of(complete, search)
    for n, path in enumerate(search.space):
        place = {"row": n // n_columns + 1, "col": n % n_columns + 1}
        figure.add_scatter(
            x=[_position(row.sampled[path]) for row in complete],
            y=[row.value for row in complete],
            mode="markers",
            marker={
                "color": [VERMILION if row is best else BLUE for row in complete],
                "symbol": ["diamond" if row is best else "circle" for row in complete],
                "size": [12 if row is best else 8 for row in complete],
                "opacity": 0.75,
            },
            customdata=[[row.trial, text(format_values(row.sampled))] for row in complete],
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
    """Draw one line per trial through its settings; better trials are redder."""
    search = plan.search
    sign = -1 if search.metric == "loss" else 1
    complete = sorted(_complete(rows), key=lambda row: (sign * (row.value or 0.0), -row.trial))
    names = short_names(search.space)
    scales = [_Scale.of_values([row.value or 0.0 for row in complete])]
    scales += [_Scale.of_setting(search.space[path]) for path in search.space]
    figure = new_figure(showlegend=False)
    shades = np.linspace(FIRST_COLOR, LAST_COLOR, len(complete)).round().astype(int)
    for row, shade in zip(complete, shades, strict=True):  # the best on top
        values = [row.value, *(row.sampled[path] for path in search.space)]
        is_best = row is complete[-1]
        figure.add_scatter(
            x=list(range(len(values))),
            y=[scale.height(value) for scale, value in zip(scales, values, strict=True)],
            mode="lines",
            line={"color": f"rgb({','.join(map(str, shade))})", "width": 3.5 if is_best else 1.6},
            opacity=1 if is_best else 0.8,
            text=f"trial {row.trial}: {row.value:.4f}<br>{text(format_values(row.sampled))}",
            hovertemplate="%{text}<extra></extra>",
        )
    for position, scale in enumerate(scales):
        figure.add_shape(
            type="line", x0=position, x1=position, y0=0, y1=1, line={"color": GRAY, "width": 1}
        )
        for height, tick in scale.ticks:
            figure.add_annotation(
                x=position,
                y=height,
                text=text(tick),
                showarrow=False,
                xanchor="right" if position == len(scales) - 1 else "left",
                xshift=-5 if position == len(scales) - 1 else 5,
                yshift=8,
            )
    heads = [_metric(search), *names.values()]
    figure.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(heads))),
        ticktext=[text(head) for head in heads],
        range=[-0.25, len(heads) - 0.75],
        showgrid=False,
    )
    figure.update_yaxes(visible=False, range=[-0.06, 1.1])
    label_ = "Every trial as a line through its settings"
    return Chart("parallel", label_, figure, 380, min_width=AXIS_WIDTH * len(heads))


class _Scale(NamedTuple):
    """An axis of parallel coordinates; heights are from 0 to 1."""

    height: Callable[[Any], float]
    ticks: list[tuple[float, str]]

    @classmethod
    def of_setting(cls, distribution: Distribution) -> "_Scale":
        if distribution.choices is None:
            return cls._between(
                float(distribution.low or 0),
                float(distribution.high or 0),
                log=bool(distribution.log),
            )
        labels = [choice_label(choice) for choice in distribution.choices]
        heights = {value: n / max(len(labels) - 1, 1) for n, value in enumerate(labels)}
        return cls(heights.__getitem__, [(height, str(each)) for each, height in heights.items()])

    @classmethod
    def of_values(cls, values: Sequence[float]) -> "_Scale":
        return cls._between(min(values), max(values), log=False)

    @classmethod
    def _between(cls, low: float, high: float, *, log: bool) -> "_Scale":
        scaled: Callable[[float], float] = math.log if log else float
        width = scaled(high) - scaled(low) or 1.0

        def height(value: float) -> float:
            return (scaled(value) - scaled(low)) / width

        steps = np.geomspace(low, high, N_TICKS) if log else np.linspace(low, high, N_TICKS)
        return cls(height, [(height(min(max(at, low), high)), f"{at:.3g}") for at in steps])


def _complete(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.value is not None]


def _metric(search: Search) -> str:
    return f"validation {search.metric.replace('_', ' ')}"


def _position(value: Any) -> Any:
    """Convert a value to a position on its axis; other text than numbers stays text."""
    return text(value) if isinstance(value, str | bool) or value is None else value


def _axis(search: Search, path: str) -> dict[str, Any]:
    distribution = search.space[path]
    if distribution.choices is None:
        if not distribution.log:
            return {"type": "linear"}
        ends = [math.log10(float(end or 1)) for end in (distribution.low, distribution.high)]
        margin = 0.05 * (ends[1] - ends[0])
        # In less than one decade there may be no power of ten.
        ticks = {"dtick": 1, "exponentformat": "power"} if ends[1] - ends[0] > 1 else {"nticks": 4}
        return {"type": "log", "range": [ends[0] - margin, ends[1] + margin], **ticks}
    order = [_position(choice_label(choice)) for choice in distribution.choices]
    return {"type": "category", "categoryorder": "array", "categoryarray": order}
