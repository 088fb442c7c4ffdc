"""CSV files that stages exchange and people open: one header line, one row a record, UTF-8.

Names of files and classes are anybody's, and a spreadsheet runs what it takes for a formula. So
a text that begins as one does gets an apostrophe in front, in every file, and loses it when it is
read here. Another reader takes one apostrophe off the beginning of a cell.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from classifold.runtime.atomic_files import new_file
from classifold.runtime.faults import explain_damage

# What spreadsheets take for a formula, full-width characters among them. An apostrophe is
# here so that one in front can be told from a name's own. A plain number is none.
FORMULA = re.compile(r"(?!-?\d+(\.\d+)?\Z)['=+\-@\t\r\n＝＋－＠]")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> None:
    """Write `rows` under `columns`, no text as a formula; the file appears whole or not at all.

    Args:
        path: where to; its folder is made if need be.
        rows: mappings with exactly the keys `columns`.
        columns: names in their order; the header stands even when there are no rows.

    Raises:
        ValueError: if a row has a key that is no column.
    """
    # newline="" and "\n": the same bytes on every system.
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(_UnixLines(file), columns, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: _guarded(value) for name, value in row.items()} for row in rows)


class _UnixLines:
    """Ends rows in a line feed, though the writer ends them in two characters.

    Python 3.11 quotes a carriage return in a value only if the line ending has one.
    """

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, row: str) -> int:
        """Take one row from the writer."""
        return self.file.write(row.removesuffix("\r\n") + "\n")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read all rows as the text that was written, by column.

    Raises:
        UserError: if the file is damaged; a missing one is a FileNotFoundError.
    """
    with (
        explain_damage(path, kind="a CSV file"),
        path.open(encoding="utf-8", newline="") as file,
    ):
        return [_as_written(row) for row in csv.DictReader(file, strict=True)]


def as_text(value: str) -> str:
    """Write a text so that no spreadsheet takes it for a formula."""
    return f"'{value}" if FORMULA.match(value) else value


def _guarded(value: Any) -> Any:
    return as_text(value) if isinstance(value, str) else value


def _as_written(row: dict[str, str]) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError("a row has not as many values as there are columns")
    return {name: value.removeprefix("'") for name, value in row.items()}
