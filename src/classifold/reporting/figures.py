"""What all Plotly charts of a page have in common.

Backgrounds are transparent and colors are readable on light and on dark; the script of the page
sets the colors of text and grids, which follow the color scheme of the reader.
"""

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go

from classifold.pictures.palette import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    PURPLE,
    SKY_BLUE,
    VERMILION,
)
from classifold.plain_text import plain_text
from classifold.reporting.formats import PERCENT

# Without black, which vanishes on a dark background.
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY_BLUE, GRAY)
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "star",
    "cross",
    "triangle-down",
    "pentagon",
    "hexagram",
    "hourglass",
)

# Axes of percentages. Plotly's own format for fractions has no space before the sign.
PERCENT_AXIS = {"ticksuffix": PERCENT}
# All digits at the ticks between the powers of ten; by default only the first one.
LOG_AXIS = {"type": "log", "tickformat": "~g"}

CHARACTER_WIDTH = 7  # pixels, about
LINE_HEIGHT = 24  # height of a horizontal bar, in pixels


class Chart(NamedTuple):
    """A figure and its size on the page."""

    name: str
    label: str  # for screen readers
    figure: go.Figure
    height: int  # pixels
    min_width: int = 0  # pixels; on a narrower screen the chart scrolls in its box
    max_width: int = 0  # pixels; 0: as wide as the page
    orders: Mapping[str, Mapping[str, Any]] = {}  # title of a choice -> changes of the layout

    def to_json(self) -> str:
        """Encode the figure as JSON, without any "<" that could end a script element."""
        figure = json.loads(self.figure.to_json())
        content = {"data": figure["data"], "layout": figure["layout"], "orders": self.orders}
        return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def text(value: object) -> str:
    """Escape text from data, since Plotly interprets some HTML in labels."""
    return html.escape(plain_text(str(value)), quote=False)


def layout(**settings: Any) -> dict[str, Any]:
    """Build the layout of a chart: margins, legend and backgrounds; `settings` are added."""
    return {
        # Without a standoff, titles of axes overlap long labels of ticks.
        "template": {"layout": {axis: {"title": {"standoff": 12}} for axis in ("xaxis", "yaxis")}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 10, "r": 14, "t": 14, "b": 10},
        "legend": {
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.02,
            "x": 0,
            "traceorder": "normal",
        },
        "hoverlabel": {"align": "left"},
        "showlegend": True,
        **settings,
    }


def new_figure(**settings: Any) -> go.Figure:
    """Create an empty figure; `settings` are added to its layout."""
    figure = go.Figure(layout=layout(**settings))
    axis = {"automargin": True, "zeroline": False, "ticks": ""}
    figure.update_xaxes(**axis, showgrid=True)
    figure.update_yaxes(**axis, showgrid=True)
    return figure


def percentages(fractions: Iterable[float]) -> list[float]:
    """Convert fractions to the percentages that charts draw."""
    return [100 * fraction for fraction in fractions]


def nth_color(position: int) -> str:
    """Choose the color of a model or class by its position; colors repeat."""
    return COLORS[position % len(COLORS)]


def nth_symbol(position: int) -> str:
    """Choose the symbol of a model or class by its position; symbols repeat."""
    return SYMBOLS[position % len(SYMBOLS)]
