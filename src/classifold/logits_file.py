"""Logits of one model on one part, with the labels they should find."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.errors import UserError


class Logits(NamedTuple):
    """Row i of each is image i."""

    ids: np.ndarray  # text (N,)
    labels: np.ndarray  # int64 (N,): positions in the model's classes
    logits: np.ndarray  # float32 (N, n_classes)


def save_logits(path: Path, logits: Logits) -> None:
    """Write an `.npz`; the same values give the same bytes."""
    np.savez(path, **logits._asdict())


def load_logits(path: Path) -> Logits:
    """Read what `save_logits` wrote; nothing pickled is ever read.

    Raises:
        UserError: if the file is damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Logits(**{name: arrays[name] for name in Logits._fields})
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive leads its reader to anything
        raise UserError(
            f"{path} cannot be read as logits ({error}); restore it with 'dvc checkout "
            f"{path.parent}', or make it again with 'dvc repro -f'"
        ) from None
