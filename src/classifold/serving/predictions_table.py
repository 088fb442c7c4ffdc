"""Print predictions as a table that fits the terminal, safe to print whatever its names."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from classifold.plain_text import one_line
from classifold.serving.predict import Prediction
from classifold.serving.predictions_file import Counts

MAX_CHARACTERS = 4096  # of a name
MIN_WIDTH = 8  # of a column, in cells of the terminal


def lowest_level(levels: Collection[str]) -> list[str]:
    """Find the level of which the table shows the sets; none if there are no levels."""
    return [min(levels, key=float)] if levels else []


def print_predictions(predictions: Iterable[Prediction], *, top: int) -> Counts:
    """Print predictions to the standard output, and below them a table of remarks.

    Columns: image, predicted (the labels), other classes (with `predicted` the `top` most probable
    ones), and the prediction set of the lowest level. Names that are too long are shortened in the
    middle; those of predicted classes are continued on the next line. A remark may be the reason
    why there is no prediction.

    Args:
        predictions: all are kept until the last one is known.
        top: the number of most probable classes to list, and of a set.
    """
    listed = list(predictions)
    console = Console()
    decoded = [each for each in listed if each.reason is None]
    remarked = [each for each in listed if _remark(each)]
    if decoded:
        console.print("", _predictions(decoded, top=top), sep="\n")
    if remarked:
        console.print("", _remarks(remarked), sep="\n")
    console.print()
    return Counts.of(listed)


def shorten(text: str, width: int) -> str:
    """Shorten a text in the middle, so that it takes at most `width` cells of a terminal."""
    if cell_len(text) <= width:
        return text
    folder, slash, name = text.rpartition("/")
    left = width - cell_len(name) - 1
    if slash and left > 0:  # the name of a file matters most
        return f"{shorten(folder, left) if left >= MIN_WIDTH else '…'}/{name}"
    n_last = (width - 1) // 2
    first = set_cell_size(text, width - 1 - n_last).rstrip()
    return f"{first}…{set_cell_size(text[::-1], n_last)[::-1].lstrip()}"


class _Item(NamedTuple):
    name: str
    suffix: str = ""

    def __str__(self) -> str:
        return self.name + self.suffix


class _List:
    """A cell that lists items, as many per line as fit; only long ones take several lines."""

    def __init__(self, items: Sequence[_Item], *, whole: bool = False) -> None:
        """Keep the items.

        Args:
            items: what to list.
            whole: whether a name that is longer than a line is continued on the next one, and
                not shortened.
        """
        self._items = items
        self._whole = whole
        self.width = cell_len(", ".join(map(str, items)))  # of one line

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        """Measure the width of all items on one line."""
        return Measurement(MIN_WIDTH, max(self.width, MIN_WIDTH)).with_maximum(options.max_width)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Draw the lines."""
        lines = [""]
        for number, item in enumerate(self._items, start=1):
            end = item.suffix + ("," if number < len(self._items) else "")
            n_fixed = 0 if item.suffix else len(end)  # a suffix may be on the next line
            name = item.name if self._whole else shorten(item.name, options.max_width - n_fixed)
            added = name + end
            joined = f"{lines[-1]} {added}" if lines[-1] else added
            if cell_len(joined) <= options.max_width:
                lines[-1] = joined
            else:
                lines.append(added)
        yield from (Text(line, overflow="fold") for line in lines if line or len(lines) == 1)


def _predictions(predictions: Sequence[Prediction], *, top: int) -> Table:
    levels = lowest_level({level for each in predictions for level in each.sets})
    sets = (f"{100 * float(level):g} % set" for level in levels)
    table = _new_table("image", "predicted", "other classes", *sets)
    for prediction in predictions:
        most_probable = list(prediction.probabilities)[:top]
        others = [name for name in most_probable if name not in prediction.labels]
        table.add_row(
            _List([_Item(_line(prediction.image))]),
            _List(_with_probabilities(prediction.labels, prediction), whole=True),
            _List(_with_probabilities(others, prediction)),
            *(_List(_set(prediction.sets.get(level, []), max_names=top)) for level in levels),
        )
    return table


def _remarks(predictions: Iterable[Prediction]) -> Table:
    table = _new_table("image", "remark")
    for prediction in predictions:
        remark = Text(_line(_remark(prediction)), overflow="fold")
        table.add_row(_List([_Item(_line(prediction.image))]), remark)
    return table


def _new_table(*columns: str) -> Table:
    return Table(
        *columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _remark(prediction: Prediction) -> str:
    remarks = (prediction.reason, prediction.abstained, prediction.remark)
    return "; ".join(remark for remark in remarks if remark)


def _with_probabilities(names: Iterable[str], prediction: Prediction) -> list[_Item]:
    return [_Item(_line(name), f" {prediction.probabilities[name]:.3f}") for name in names]


def _set(names: Sequence[str], *, max_names: int) -> list[_Item]:
    more = len(names) - max_names
    return [
        *(_Item(_line(name)) for name in names[:max_names]),
        *([_Item("", f"{more:,} more")] if more > 0 else []),
    ]


def _line(text: str) -> str:
    return one_line(text, max_characters=MAX_CHARACTERS)
