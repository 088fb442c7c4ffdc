"""Print predictions as a table: one row per image, safe to print whatever its name."""

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from classifold.plain_text import plain_text
from classifold.serving.predict import Prediction
from classifold.serving.predictions_file import Written


def print_predictions(predictions: Iterable[Prediction], *, task: str, top: int) -> Written:
    """Print predictions to the standard output.

    Columns: image, predicted (the label and its probability; in `multi` all labels), most probable
    (the following classes; in `multi` all), remark (or the reason why there is no prediction).

    Args:
        predictions: all are kept until the last one is known.
        task: `single` or `multi`.
        top: the number of most probable classes to list.
    """
    listed = list(predictions)
    counts = Written(
        n_unreadable=sum(prediction.reason is not None for prediction in listed),
        n_remarks=sum(prediction.remark is not None for prediction in listed),
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("next" if task == "single" else "most probable", overflow="fold")
    if counts.n_unreadable or counts.n_remarks:
        table.add_column("reason or remark", overflow="fold")
    for prediction in listed:
        ranked = [f"{name} {p:.3f}" for name, p in prediction.probabilities.items()][:top]
        first = ranked[:1] if task == "single" else prediction.labels
        rest = ranked[1:] if task == "single" else ranked
        cells = [prediction.image, ", ".join(first), ", ".join(rest)]
        cells.append(prediction.reason or prediction.remark or "")
        table.add_row(*(Text(plain_text(cell)) for cell in cells[: len(table.columns)]))
    Console().print(table)
    return counts
