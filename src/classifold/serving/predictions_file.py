"""`predictions.csv`: one row an image, which any spreadsheet may open."""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from classifold.data.csv_file import write_rows
from classifold.data.image_table import LABEL_SEPARATOR
from classifold.errors import UserError
from classifold.serving.predict import Answer


def write_answers(path: Path, answers: Iterable[Answer], *, task: str, top: int) -> int:
    """Write `answers` as CSV; the file appears whole or not at all.

    Columns: image, predicted (in `multi` labels joined by `|`), probability (in `single`, of
    what is predicted), class_1, probability_1 and so on, reason. Probabilities have all their
    digits.

    Args:
        path: where to; what stood there is replaced.
        answers: read one by one.
        task: `single` or `multi`.
        top: how many of the most probable classes are told.

    Returns:
        How many of the answers are none, but a reason.

    Raises:
        UserError: if a folder is in the way.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file to write, such as {path}/predictions.csv")
    ranks = range(1, top + 1)
    columns = [
        *("image", "predicted", *(["probability"] if task == "single" else [])),
        *(column for rank in ranks for column in (f"class_{rank}", f"probability_{rank}")),
        "reason",
    ]
    n_unreadable = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal n_unreadable
        for answer in answers:
            n_unreadable += answer.reason is not None
            yield _row(answer, columns, top=top)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".", suffix=".partial") as folder:
        partial = Path(folder) / path.name
        write_rows(partial, rows(), columns=columns)
        partial.replace(path)
    return n_unreadable


def _row(answer: Answer, columns: list[str], *, top: int) -> dict[str, Any]:
    ranked = list(answer.probabilities.items())[:top]
    row: dict[str, Any] = dict.fromkeys(columns, "")
    row["image"] = answer.image
    row["predicted"] = LABEL_SEPARATOR.join(answer.labels)
    row["reason"] = answer.reason or ""
    if "probability" in row and ranked:
        row["probability"] = ranked[0][1]
    for rank, (name, probability) in enumerate(ranked, start=1):
        row[f"class_{rank}"] = name
        row[f"probability_{rank}"] = probability
    return row
