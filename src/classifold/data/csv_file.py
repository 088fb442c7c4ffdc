"""Read and write CSV files: one header line, one row per record, UTF-8.

Names of files and classes may come from anyone, and a spreadsheet evaluates a text that looks like
a formula. So such a text is written with an apostrophe in front, and `read_rows` removes it.
Another reader has to remove one apostrophe from the beginning of a cell.

`dvc plots` inserts the files that it reads into a script of a page as they are. In these, the
beginning of a tag is written as `\u003c`, so that it cannot end the script.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from classifold.runtime.atomic_files import new_file
from classifold.runtime.faults import explain_damage

# Beginnings of formulas, full-width characters included. The apostrophe is included so that an
# added one can be distinguished from one of the name. A plain number is no formula.
FORMULA = re.compile(r"(?!-?\d+(\.\d+)?\Z)['=+\-@\t\r\n＝＋－＠]")

# Beginnings of tags and comments; and, so that each text can be restored, of what replaces them.
TAG = re.compile(r"<(?=[a-zA-Z/!?])")
ESCAPED = re.compile(r"\\(?=u00(?:3c|5c))")


def write_rows(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    columns: Sequence[str],
    plotted: bool = False,
) -> None:
    """Write rows as CSV, no text as a formula; the file appears whole or not at all.

    Args:
        path: CSV file to write; its folder is created if needed.
        rows: mappings with exactly the keys `columns`.
        columns: names in their order; the header is written even if there are no rows.
        plotted: whether `dvc plots` reads the file.

    Raises:
        ValueError: if a row has a key that is no column.
    """
    # newline="" and "\n": the same bytes on every system.
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(_UnixLines(file), columns, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(
            {name: _guarded(value, plotted=plotted) for name, value in row.items()} for row in rows
        )


class _UnixLines:
    """Replaces the line ending of the CSV writer with a line feed.

    Python 3.11 quotes a carriage return in a value only if the line ending has one.
    """

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """Write one row."""
        return self.file.write(row.removesuffix("\r\n") + "\n")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read all rows: column -> the text that was written.

    Raises:
        UserError: if the file is damaged; a missing one is a FileNotFoundError.
    """
    with (
        explain_damage(path, kind="a CSV file"),
        path.open(encoding="utf-8", newline="") as file,
    ):
        return [_as_written(row) for row in csv.DictReader(file, strict=True)]


def as_text(value: str) -> str:
    """Escape a text that a spreadsheet would evaluate as a formula."""
    return f"'{value}" if FORMULA.match(value) else value


def _guarded(value: Any, *, plotted: bool) -> Any:
    if not isinstance(value, str):
        return value
    value = ESCAPED.sub(r"\\u005c", value)
    return as_text(TAG.sub(r"\\u003c", value) if plotted else value)


def _as_written(row: dict[str, str]) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError("the number of values in a row differs from the number of columns")
    return {name: _restored(value) for name, value in row.items()}


def _restored(value: str) -> str:
    text = value.removeprefix("'")
    return text.replace(r"\u003c", "<").replace(r"\u005c", "\\") if "\\" in text else text


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Round the floats of a row to six places."""
    return {
        name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()
    }
