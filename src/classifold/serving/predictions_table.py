"""Print predictions as a table: one row per image, safe to print whatever its name."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from classifold.errors import list_names
from classifold.plain_text import plain_text
from classifold.serving.predict import Prediction
from classifold.serving.predictions_file import Counts


def print_predictions(predictions: Iterable[Prediction], *, top: int) -> Counts:
    """Print predictions to the standard output.

    Columns: image, predicted (the labels), other classes (with `predicted` the `top` most probable
    ones), the prediction set of the lowest level, and remark, if there is one (or the reason why
    there is no prediction).

    Args:
        predictions: all are kept until the last one is known.
        top: the number of most probable classes to list, and of a set.
    """
    listed = list(predictions)
    counts = Counts.of(listed)
    level = min((level for each in listed for level in each.sets), key=float, default=None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("image", "predicted", "other classes"):
        table.add_column(column, overflow="fold")
    if level is not None:
        table.add_column(f"{100 * float(level):g} % set", overflow="fold")
    if any(counts):
        table.add_column("remark", overflow="fold")
    for prediction in listed:
        most_probable = list(prediction.probabilities)[:top]
        others = [name for name in most_probable if name not in prediction.labels]
        cells = [
            prediction.image,
            *(_with_probabilities(names, prediction) for names in (prediction.labels, others)),
            *([] if level is None else [list_names(prediction.sets.get(level, []), max_names=top)]),
            prediction.reason or prediction.abstained or prediction.remark or "",
        ]
        table.add_row(*(Text(plain_text(cell)) for cell in cells[: len(table.columns)]))
    Console().print(table)
    return counts


def _with_probabilities(names: Iterable[str], prediction: Prediction) -> str:
    return ", ".join(f"{name} {prediction.probabilities[name]:.3f}" for name in names)
