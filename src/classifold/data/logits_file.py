"""Read and write the logits of one model on one split, with the labels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.runtime.faults import explain_damage


class Logits(NamedTuple):
    """Row i of each is image i."""

    ids: np.ndarray  # text (N,)
    labels: np.ndarray  # int64 (N,): positions in the model's classes
    logits: np.ndarray  # float32 (N, n_classes)


def save_logits(path: Path, logits: Logits) -> None:
    """Write an `.npz`; the same values give the same bytes."""
    np.savez(path, **logits._asdict())


def load_logits(path: Path) -> Logits:
    """Read what `save_logits` wrote; pickled objects are refused.

    Raises:
        UserError: if the file is damaged.
    """
    with (
        explain_damage(path, kind="an .npz file of logits"),
        path.open("rb") as file,  # which NumPy leaves open when it is damaged
        np.load(file, allow_pickle=False) as arrays,
    ):
        if any(entry.compress_type for entry in arrays.zip.infolist()):
            raise ValueError("compressed arrays, which could have any size")
        return Logits(**{name: arrays[name] for name in Logits._fields})
