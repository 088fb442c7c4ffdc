"""Every model's answers on the test images, as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("model", pa.string()),  # or "stack"
        ("label", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float64()),  # of the predicted class
        ("label_probability", pa.float64()),
        ("label_rank", pa.int32()),  # 1: the label was the first answer
    ]
)


def write_predictions(
    path: Path,
    probabilities: Mapping[str, np.ndarray],
    *,
    ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write one row an image and model.

    Args:
        path: of the Parquet file.
        probabilities: model -> float array (N, n_classes).
        ids: of the N images.
        labels: int array (N,).
        classes: names in the order of columns.
    """
    names = np.array(classes, dtype=object)
    rows = np.arange(len(ids))
    tables = []
    for model, values in probabilities.items():
        predicted = values.argmax(axis=1)
        of_label = values[rows, labels]
        columns = {
            "id": list(ids),
            "model": [model] * len(ids),
            "label": names[labels].tolist(),
            "predicted": names[predicted].tolist(),
            "probability": values[rows, predicted],
            "label_probability": of_label,
            "label_rank": 1 + (values > of_label[:, None]).sum(axis=1),
        }
        tables.append(pa.table(columns, SCHEMA))
    pq.write_table(pa.concat_tables(tables), path)


def read_predictions(path: Path, *, model: str) -> list[dict]:
    """Read one model's rows, in the order of test images."""
    return pq.read_table(path, filters=[("model", "=", model)]).to_pylist()
