"""CSV files that stages exchange: one header line, one row a record, UTF-8."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


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
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read all rows as text, by column."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
