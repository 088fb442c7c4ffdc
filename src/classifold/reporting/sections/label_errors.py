"""Part of section "Data": training labels that are probably wrong."""

from collections.abc import Mapping
from typing import Any

from classifold.pictures.examples import shorten
from classifold.reporting.facts import Facts
from classifold.reporting.formats import percent
from classifold.reporting.pictures import MAX_CHARACTERS, Picture, thumbnails
from classifold.reporting.tables import Cell, Column, Table, percent_cell

MAX_PICTURES = 24
MAX_ROWS = 200


def label_errors_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this part shows."""
    rows = facts.label_errors
    shown = rows[:MAX_PICTURES]
    uris = thumbnails(facts.folders.ingested, {row["id"] for row in shown})
    return {
        "label_errors": [_picture(uris[row["id"]], row, task=facts.task) for row in shown],
        "label_errors_table": label_errors_table(rows[:MAX_ROWS]),
    }


def label_errors_table(rows: list[dict[str, str]]) -> Table:
    """Tabulate rows of `label_errors.csv`."""
    columns = [
        *(Column("image"), Column("label"), Column("suggested")),
        *(Column("probability of the label", numeric=True), Column("of the other", numeric=True)),
    ]
    cells = [
        [
            *(Cell(row[name], row[name]) for name in ("id", "label", "suggested")),
            *(
                percent_cell(float(row[name]))
                for name in ("label_probability", "suggested_probability")
            ),
        ]
        for row in rows
    ]
    return Table("Labels that are probably wrong, the most probable errors first", columns, cells)


def _picture(uri: str, row: Mapping[str, str], *, task: str) -> Picture:
    label, suggested = (
        f"{row[name]} (probability {percent(float(row[f'{kind}_probability']))})"
        for name, kind in (("label", "label"), ("suggested", "suggested"))
    )
    if task == "single":
        lines = [f"label: {label}", f"suggested: {suggested}"]
    elif row["label"]:
        lines = [f"probably wrong: {label}"]
    else:
        lines = [f"probably missing: {suggested}"]
    alt = f"{row['id']}, {', '.join(lines)}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in [*lines, row["id"]]])
