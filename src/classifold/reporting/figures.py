"""The manner of all figures of our pages: what the page's script colors, and what it leaves."""

import html
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go

from classifold.plain_text import plain_text

LINE_HEIGHT = 24  # of a horizontal bar, in pixels


class Chart(NamedTuple):
    """A figure with the room it takes, known before it is drawn."""

    name: str
    label: str  # what it shows, for those who cannot see it
    figure: go.Figure
    height: int  # pixels
    min_width: int = 0  # pixels; on a narrower screen the chart scrolls in its box
    max_width: int = 0  # pixels; 0: as wide as the page
    orders: Mapping[str, Mapping[str, Any]] = {}  # what a reader may choose -> change of the layout

    def to_json(self) -> str:
        """The figure as JSON that no `</script>` in it can end."""
        figure = json.loads(self.figure.to_json())
        content = {"data": figure["data"], "layout": figure["layout"], "orders": self.orders}
        return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def text(value: object) -> str:
    """Text from data as text: Plotly must read neither tags nor entities in it."""
    return html.escape(plain_text(str(value)), quote=False)


def layout(**settings: Any) -> dict[str, Any]:
    """Margins, legend and backgrounds; `settings` are added."""
    return {
        "template": {},
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
    """A figure without anything in it; `settings` are of its layout."""
    figure = go.Figure(layout=layout(**settings))
    axis = {"automargin": True, "zeroline": False, "ticks": ""}
    figure.update_xaxes(**axis, showgrid=True)
    figure.update_yaxes(**axis, showgrid=True)
    return figure
