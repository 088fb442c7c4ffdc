"""`classifold experiments`: list experiments in a table that fits the screen."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifold.cli.errors import report_errors

MAX_WIDTH = 120  # columns
MAX_CHARACTERS_PER_CHANGE = 100


@report_errors()
def experiments() -> None:
    """List the experiments of all commits, with validation scores and changed params.

    Test scores are not listed, since a setting that is chosen by them would make them too good:
    compare them once, with 'dvc metrics diff'.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from classifold.plain_text import one_line
    from classifold.project.experiments import list_experiments

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="scores on validation images")
    for column in ("experiment", "state", "stack", "best model", "changed params"):
        table.add_column(column, overflow="fold", no_wrap=column in {"state", "stack"})
    for row in list_experiments(Path()):
        is_commit = row.state in {"commit", "changed"}
        cells = [
            row.name if is_commit else f"  {row.name}",
            "" if row.state == "commit" else row.state,
            "" if row.stack is None else f"{row.stack:.4f}",
            _format_best(row.best_model, row.spread),
            "\n".join(
                one_line(change, max_characters=MAX_CHARACTERS_PER_CHANGE) for change in row.changes
            ),
        ]
        table.add_row(*(Text(cell, overflow="fold") for cell in cells), style="bold" * is_commit)
    width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
    Console(width=width).print(table)


def _format_best(best: tuple[str, float] | None, spread: Mapping[str, Any] | None) -> str:
    """Format the score of the best model, and the range of its seeds if it has several."""
    if best is None:
        return ""
    text = f"{best[0]} {best[1]:.4f}"
    if spread:
        text += f", of {spread['n']} seeds {spread['min']:.4f} to {spread['max']:.4f}"
    return text
