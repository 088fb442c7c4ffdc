"""Tables of a page: text to read, and values to sort by."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from classifold.data.predictions import MAJORITY
from classifold.reporting.formats import NOT_AVAILABLE, MainMetric, decimal, percent


class Column(NamedTuple):
    """The heading of a column."""

    title: str
    numeric: bool = False
    subtitle: str = ""  # on which images it was measured
    hint: str = ""  # the tooltip


class Cell(NamedTuple):
    """A cell; its text is not escaped yet."""

    text: str
    value: float | str | None = None  # to sort by; None comes last
    note: str = ""


class Table(NamedTuple):
    """A table, which a click on a heading sorts."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    highlighted: frozenset[str] = frozenset()  # texts of the first cells of highlighted rows


def text_table(caption: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Build a table of text only."""
    columns = [Column(title) for title in titles]
    return Table(caption, columns, [[Cell(item, item) for item in row] for row in rows])


def difference_column(title: str, metric: MainMetric, *, hint: str) -> Column:
    """Build the heading of a column of differences."""
    return Column(title, numeric=True, subtitle=metric.unit, hint=hint)


def name_cell(name: str, note: str = "") -> Cell:
    """Build a cell with the name of a model."""
    return Cell(name.replace("_", " ") if name == MAJORITY else name, name, note)


def score_cell(
    metric: MainMetric, score: float | None, *, n_images: int = 0, note: str = ""
) -> Cell:
    """Build a cell with a score of the main metric."""
    return Cell(metric.score(score, n_images=n_images), score, note)


def difference_cell(metric: MainMetric, difference: float | None, *, note: str = "") -> Cell:
    """Build a cell with a difference of two scores."""
    return Cell(metric.difference(difference), difference, note)


def decimal_cell(value: float | None, *, note: str = "") -> Cell:
    """Build a cell with three decimals."""
    return Cell(decimal(value), value, note)


def percent_cell(fraction: float | None, *, n_images: int = 0, note: str = "") -> Cell:
    """Build a cell with a percentage."""
    return Cell(percent(fraction, n_images=n_images), fraction, note)


def number_cell(number: int | None) -> Cell:
    """Build a cell with a count."""
    return Cell(NOT_AVAILABLE) if number is None else Cell(f"{number:,}", number)
