"""Write out-of-fold logits: each training image by a network not trained on it.

In `data/folds/<model>/`, `logits.npz` has the logits of all training images, in the order of the
pack's originals, and `folds.csv` (id, fold) has the fold in which each was held out. Both are
empty where `stack.folds` is 0.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.csv_file import write_rows
from classifold.data.logits_file import Logits, save_logits


class OutOfFold(NamedTuple):
    """Row i of each is image i."""

    logits: Logits
    folds: np.ndarray  # int64 (N,): the fold in which the image was held out, from 1


NO_FOLDS = OutOfFold(
    Logits(np.empty(0, "U1"), np.empty(0, np.int64), np.empty((0, 0), np.float32)),
    np.empty(0, np.int64),
)


def write_out_of_fold(folder: Path, out_of_fold: OutOfFold) -> None:
    """Write both files into `folder`."""
    save_logits(folder / "logits.npz", out_of_fold.logits)
    write_rows(
        folder / "folds.csv",
        (
            {"id": image_id, "fold": fold}
            for image_id, fold in zip(out_of_fold.logits.ids, out_of_fold.folds, strict=True)
        ),
        columns=["id", "fold"],
    )
