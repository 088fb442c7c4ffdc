"""Write `predictions.csv`: one row per image, safe to open in a spreadsheet."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import write_rows
from classifold.data.image_table import LABEL_SEPARATOR
from classifold.runtime.atomic_files import new_file
from classifold.serving.predict import Prediction


class Counts(NamedTuple):
    """Numbers of images, of those that were predicted on."""

    n_unreadable: int  # images that could not be read
    n_remarks: int  # images that were predicted, but whose owner should know something


def write_predictions(
    path: Path, predictions: Iterable[Prediction], *, task: str, top: int
) -> Counts:
    """Write predictions as CSV; the file appears whole or not at all.

    Columns: image, predicted (in `multi` labels joined by `|`), probability (in `single`, of the
    predicted class), class_1, probability_1 and so on, reason, remark. Probabilities are not
    rounded.

    Args:
        path: the file to write; an existing one is replaced.
        predictions: consumed one by one.
        task: `single` or `multi`.
        top: the number of most probable classes to list.
    """
    ranks = range(1, top + 1)
    columns = [
        *("image", "predicted", *(["probability"] if task == "single" else [])),
        *(column for rank in ranks for column in (f"class_{rank}", f"probability_{rank}")),
        "reason",
        "remark",
    ]
    n_unreadable = n_remarks = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal n_unreadable, n_remarks
        for prediction in predictions:
            n_unreadable += prediction.reason is not None
            n_remarks += prediction.remark is not None
            yield _row(prediction, columns, top=top)

    with new_file(path) as partial:
        write_rows(partial, rows(), columns=columns)
    return Counts(n_unreadable, n_remarks)


def _row(prediction: Prediction, columns: list[str], *, top: int) -> dict[str, Any]:
    ranked = list(prediction.probabilities.items())[:top]
    row: dict[str, Any] = dict.fromkeys(columns, "")
    row["image"] = prediction.image
    row["predicted"] = LABEL_SEPARATOR.join(prediction.labels)
    row["reason"] = prediction.reason or ""
    row["remark"] = prediction.remark or ""
    if "probability" in row and ranked:
        row["probability"] = ranked[0][1]
    for rank, (name, probability) in enumerate(ranked, start=1):
        row[f"class_{rank}"] = name
        row[f"probability_{rank}"] = probability
    return row
