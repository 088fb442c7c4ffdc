"""Charts of scores with their intervals."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from classifold.pictures.palette import GRAY
from classifold.reporting.figures import new_figure, percentages
from classifold.reporting.formats import PERCENT, MainMetric


def score_points(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[Sequence[float]],
    *,
    colors: Sequence[str],
    metric: MainMetric,
) -> go.Figure:
    """Draw one score per row as a point, with its 95 % interval."""
    unit = ""
    if metric.key == "accuracy":
        unit, values, intervals = PERCENT, percentages(values), list(map(percentages, intervals))
    number = ".2f" if unit else ".3f"
    figure = new_figure(showlegend=False)
    figure.add_scatter(
        x=values,
        y=names,
        mode="markers",
        marker={"color": colors, "size": 10},
        error_x=error_bars(values, intervals),
        customdata=intervals,
        hovertemplate=f"%{{y}}: %{{x:{number}}}{unit} (%{{customdata[0]:{number}}} to "
        f"%{{customdata[1]:{number}}}{unit})<extra></extra>",
    )
    figure.update_xaxes(title=f"{metric.name} on test images", ticksuffix=unit)
    figure.update_yaxes(type="category", autorange="reversed")
    return figure


def error_bars(values: Sequence[float], intervals: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Convert intervals to error bars of Plotly, which are relative to the values."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for (_, high), value in zip(intervals, values, strict=True)],
        "arrayminus": [value - low for (low, _), value in zip(intervals, values, strict=True)],
        "color": GRAY,
        "thickness": 1.5,
    }
