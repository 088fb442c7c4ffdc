"""The model that `tsne` and `explain` use: `data/explained_model/`, a copy of one listed model.

With `explain.model: best` only `compare` knows which model that is. As they depend on the copy, DVC
runs `tsne` and `explain` again if that model changes, and not if another one does.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classifold.data.json_file import read_json, write_json
from classifold.params.schema.section import BEST

if TYPE_CHECKING:
    from classifold.models.model_file import Model

# Keys of metrics/models.json by which models are compared; the first that a model has.
SELECTION_METRICS = ("micro_f1_at_threshold", "validation_micro_f1", "validation_accuracy")


def select_model(setting: str, names: Sequence[str], scores: Mapping[str, Any]) -> str:
    """Select the model to explain.

    Args:
        setting: the name of a model, or `best`: the one with the highest validation accuracy, with
            several labels per image the highest micro F1 at its threshold; of equal ones the first.
        names: names of the listed models.
        scores: content of `metrics/models.json`.
    """
    if setting != BEST:
        return setting
    metric = next(metric for metric in SELECTION_METRICS if metric in scores[names[0]])
    return max(names, key=lambda name: scores[name][metric])


def copy_explained_model(folder: Path, name: str, *, models: Path) -> None:
    """Copy a model to `folder`, and write its name beside it."""
    for file in ("model.json", "weights.safetensors"):
        shutil.copyfile(models / name / file, folder / file)
    write_json(folder / "name.json", {"model": name})


def load_explained_model(folder: Path) -> "tuple[str, Model]":
    """Read what `copy_explained_model` wrote: the model's name, and the model.

    Raises:
        UserError: if a file is missing or damaged.
    """
    # Not at the top: torch takes seconds to import, and `compare` does without it.
    from classifold.models.model_file import load_model  # noqa: PLC0415

    return read_json(folder / "name.json")["model"], load_model(folder)
