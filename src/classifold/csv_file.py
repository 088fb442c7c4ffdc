"""CSV files that stages exchange: one header line, one row a record, UTF-8."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> None:
    """Write `rows` under `columns`; the file appears whole or not at all.

    Args:
        path: where to; its folder is made if need be.
        rows: mappings with exactly the keys `columns`.
        columns: names in their order; the header stands even when there are no rows.

    Raises:
        ValueError: if a row has a key that is no column.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    # newline="" and "\n": the same bytes on every system.
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(_UnixLines(file), columns, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


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
    """Read all rows as text, by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
