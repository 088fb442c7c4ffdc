"""Axes of charts that list classes."""

import math
from collections.abc import Sequence
from typing import Any

from classifold.pictures.examples import shorten
from classifold.reporting.figures import text

MAX_LABELED_CLASSES = 60
MAX_NAME_CHARACTERS = 22
MAX_BARS_IN_CLASS_ORDER = 40  # bars of more classes are sorted by their number of images


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
