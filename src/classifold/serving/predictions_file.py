"""Write `predictions.csv`: one row per image, safe to open in a spreadsheet."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import write_rows
from classifold.data.labels import join_labels
from classifold.serving.predict import Prediction


class Counts(NamedTuple):
    """Numbers of images, of those that were predicted on."""

    n_unreadable: int  # images that could not be read
    n_remarks: int  # images that were predicted, but whose owner should know something
    n_abstained: int  # images without a prediction, as its confidence is too low

    @classmethod
    def of(cls, predictions: Iterable[Prediction]) -> "Counts":
        """Count predictions."""
        counts = cls(0, 0, 0)
        for prediction in predictions:
            counts = counts.add(prediction)
        return counts

    def add(self, prediction: Prediction) -> "Counts":
        """Count one more prediction."""
        return Counts(
            self.n_unreadable + (prediction.reason is not None),
            self.n_remarks + (prediction.remark is not None),
            self.n_abstained + (prediction.abstained is not None),
        )


def write_predictions(
    path: Path,
    predictions: Iterable[Prediction],
    *,
    task: str,
    top: int,
    levels: Sequence[str] = (),
    novelty: bool = False,
) -> Counts:
    """Write predictions as CSV; the file appears whole or not at all.

    Columns: image, predicted (in `multi` labels joined by `|`), probability (in `single`, of the
    predicted class), class_1, probability_1 and so on, set_0.9 and so on (classes joined by `|`,
    the most probable first), novelty, reason, remark. Probabilities are not rounded.

    Args:
        path: the file to write; an existing one is replaced.
        predictions: consumed one by one.
        task: `single` or `multi`.
        top: the number of most probable classes to list.
        levels: the levels of prediction sets.
        novelty: whether there is a column `novelty`.
    """
    ranks = range(1, top + 1)
    columns = [
        *("image", "predicted", *(["probability"] if task == "single" else [])),
        *(column for rank in ranks for column in (f"class_{rank}", f"probability_{rank}")),
        *(f"set_{level}" for level in levels),
        *(["novelty"] if novelty else []),
        "reason",
        "remark",
    ]
    counts = Counts(0, 0, 0)

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal counts
        for prediction in predictions:
            counts = counts.add(prediction)
            yield _row(prediction, columns, top=top)

    write_rows(path, rows(), columns=columns)
    return counts


def _row(prediction: Prediction, columns: list[str], *, top: int) -> dict[str, Any]:
    ranked = list(prediction.probabilities.items())[:top]
    row: dict[str, Any] = dict.fromkeys(columns, "")
    row["image"] = prediction.image
    row["predicted"] = join_labels(prediction.labels)
    row["reason"] = prediction.reason or prediction.abstained or ""
    row["remark"] = prediction.remark or ""
    if "novelty" in row and prediction.novelty is not None:
        row["novelty"] = prediction.novelty
    row |= {f"set_{level}": join_labels(sets) for level, sets in prediction.sets.items()}
    if "probability" in row and prediction.labels:
        row["probability"] = ranked[0][1]
    for rank, (name, probability) in enumerate(ranked, start=1):
        row[f"class_{rank}"] = name
        row[f"probability_{rank}"] = probability
    return row
