"""Axes of charts that list classes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from classifold.pictures.examples import shorten
from classifold.reporting.figures import Chart, new_figure, text

MAX_LABELED_CLASSES = 60
MAX_NAME_CHARACTERS = 22
MAX_BARS_IN_CLASS_ORDER = 40  # bars of more classes are sorted by their number of images


def class_bars(
    name: str,
    label: str,
    classes: Sequence[str],
    series: Iterable[tuple[str, str, Sequence[int]]],
    *,
    unit: str,
) -> Chart:
    """Draw stacked bars of each class.

    Args:
        name: the chart's id in the page.
        label: what it shows, for screen readers.
        classes: their names, in the order of the bars.
        series: for each color of the bars: name, color and one number per class.
        unit: what is counted, for the axis.
    """
    positions = list(range(len(classes)))
    figure = new_figure(barmode="stack", bargap=0.25)
    for outcome, color, counts in series:
        figure.add_bar(
            name=outcome,
            x=positions,
            y=counts,
            marker={"color": color},
            customdata=[text(of_class) for of_class in classes],
            hovertemplate="%{customdata}: %{y:,} " + outcome + "<extra></extra>",
        )
    figure.update_layout(showlegend=len(figure.data) > 1)
    figure.update_xaxes(**class_ticks(classes, at=positions), showgrid=False, title="class")
    figure.update_yaxes(title=unit, rangemode="tozero")
    return Chart(name, label, figure, 460 if tick_angle(classes) else 340)


def class_ticks(classes: Sequence[str], *, at: Sequence[int | str]) -> dict[str, Any]:
    """Build the ticks of an axis of classes; with many classes only some ticks have a label.

    Args:
        classes: their names.
        at: their positions on the axis.
    """
    step = math.ceil(len(classes) / MAX_LABELED_CLASSES)
    shown = list(range(0, len(classes), step))
    return {
        "tickmode": "array",
        "tickvals": [at[i] for i in shown],
        "ticktext": [text(short_name(classes[i])) for i in shown],
        "tickangle": tick_angle(classes),
    }


def tick_angle(classes: Sequence[str]) -> int:
    """Choose vertical labels where horizontal ones would overlap."""
    crowded = len(classes) > 12 or sum(len(short_name(name)) for name in classes) > 60
    return -90 if crowded else 0


def short_name(name: str) -> str:
    """Shorten the name of a class to fit beside an axis."""
    return shorten(name, MAX_NAME_CHARACTERS)
