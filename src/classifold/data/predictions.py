"""Read and write the predictions of all models on the test images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifold.data.labels import join_labels
from classifold.data.row_blocks import row_blocks
from classifold.runtime.faults import explain_damage

# Besides the models of params, predictions and scores are of these two.
STACK, MAJORITY = "stack", "majority_baseline"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("model", pa.string()),  # or "stack"
        ("label", pa.string()),  # several are joined by `|`
        ("predicted", pa.string()),  # likewise
        ("probability", pa.float64()),  # probability of what was predicted
        ("label_probability", pa.float64()),
        ("label_rank", pa.int32()),  # see `label_ranks`; null for several labels
        ("top_class", pa.string()),  # most probable predicted class, or class where none is
        ("top_probability", pa.float64()),
    ]
)


def write_predictions(
    path: Path,
    probabilities: Mapping[str, np.ndarray],
    predicted: Mapping[str, np.ndarray],
    *,
    ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write one row per image and model.

    With several labels per image, the probability of a prediction is that of all its classes,
    present and absent, as if they were independent.

    Args:
        path: Parquet file to write.
        probabilities: model -> float array (N, n_classes).
        predicted: model -> int array (N,), or bool (N, n_classes).
        ids: ids of the N images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        classes: names in the order of columns.
    """
    actual = label_names(labels, classes)
    tables = []
    for model, values in probabilities.items():
        predictions = predicted[model]
        of_label = probability_of(labels, values)
        top = _top(values, predictions)
        ranks = label_ranks(values, labels) if labels.ndim == 1 else None
        columns = {
            "id": list(ids),
            "model": [model] * len(ids),
            "label": actual,
            "predicted": label_names(predictions, classes),
            "probability": probability_of(predictions, values),
            "label_probability": of_label,
            "label_rank": [None] * len(ids) if ranks is None else ranks,
            "top_class": label_names(top, classes),
            "top_probability": probability_of(top, values),
        }
        tables.append(pa.table(columns, SCHEMA))
    pq.write_table(pa.concat_tables(tables), path)


def label_ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rank the label of each image among all classes by probability; 1 is the predicted class.

    Of equally probable classes the first one has the lower rank, as it is the one predicted.

    Args:
        probabilities: float array (N, n_classes).
        labels: int array (N,).

    Returns:
        Int array (N,) in [1, n_classes].
    """
    ranks = np.empty(len(labels), np.int64)
    for rows in row_blocks(*probabilities.shape):
        values, label = probabilities[rows], labels[rows][:, None]
        of_label = np.take_along_axis(values, label, axis=1)
        earlier = np.arange(values.shape[1]) < label
        ranks[rows] = 1 + ((values > of_label) | ((values == of_label) & earlier)).sum(axis=1)
    return ranks


def probability_of(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the probability of what is predicted, or of the labels, of each image: float (N,).

    Args:
        labels: int array (N,); or 0 and 1 in (N, n_classes), whose probability is that of all
            classes, present and absent, as if they were independent.
        probabilities: float array (N, n_classes).
    """
    if labels.ndim == 1:
        return probabilities[np.arange(len(labels)), labels]
    return np.where(labels > 0, probabilities, 1 - probabilities).prod(axis=1)


def read_predictions(path: Path, *, model: str) -> list[dict]:
    """Read one model's rows, in the order of test images.

    Raises:
        UserError: if the file is damaged.
    """
    with explain_damage(path, kind="a Parquet file"):
        return pq.read_table(path, filters=[("model", "=", model)]).to_pylist()


def label_names(labels: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Name the labels of each image, int (N,) or 0 and 1 in (N, n_classes); several are joined."""
    if labels.ndim == 1:
        return [classes[label] for label in labels]
    return [join_labels(np.array(classes)[row > 0]) for row in labels]


def _top(probabilities: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Find the most probable predicted class; of all classes, where none is predicted."""
    if predictions.ndim == 1:
        return predictions
    candidates = predictions | ~predictions.any(axis=1, keepdims=True)
    return np.where(candidates, probabilities, -1).argmax(axis=1)
