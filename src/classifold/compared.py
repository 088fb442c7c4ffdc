"""`data/compared/`: the listed models side by side on validation images.

`<model>.npz` holds validation logits, `history.csv` all learning curves in long form, and
`decisions.json` what was fitted on validation: a temperature for each model, and the shares of
classes among training images, which the majority baseline answers with.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.csv_file import read_rows, write_rows
from classifold.decisions import fit_temperature
from classifold.errors import UserError
from classifold.logits_file import load_logits
from classifold.metrics_file import read_json, write_json
from classifold.progress import say

MAJORITY = "majority_baseline"


def compare_models(
    names: Sequence[str], folder: Path, *, models: Path, metrics: Path
) -> dict[str, dict[str, Any]]:
    """Collect what exactly the listed models left, and fit their decisions.

    Args:
        names: the models listed in params.
        folder: an existing folder to write into.
        models: the folder of trained models.
        metrics: the folder of their metrics.

    Returns:
        `metrics/models.json`: model -> its metrics; the majority baseline among them.

    Raises:
        UserError: if models were trained on different splits.
    """
    table: dict[str, dict[str, Any]] = {}
    history: list[dict[str, str]] = []
    temperatures: dict[str, float] = {}
    first = load_logits(models / names[0] / "validation.npz")
    for name in names:
        logits = load_logits(models / name / "validation.npz")
        if not np.array_equal(logits.ids, first.ids):
            raise UserError(
                f"model '{name}' was validated on other images than '{names[0]}'; run "
                f"'dvc repro -f train@{name}'"
            )
        shutil.copyfile(models / name / "validation.npz", folder / f"{name}.npz")
        temperatures[name] = fit_temperature(logits.logits, logits.labels)
        history += [{"model": name, **row} for row in read_rows(models / name / "history.csv")]
        table[name] = read_json(metrics / f"{name}.json")
        table[name]["temperature"] = temperatures[name]

    description = read_json(models / names[0] / "model.json")
    classes = description["classes"]
    counts = description["train_images_per_class"]
    majority = max(classes, key=lambda name: counts[name])
    n_train = sum(counts.values())
    hits = first.labels == classes.index(majority)
    table[MAJORITY] = {
        "train_accuracy": counts[majority] / n_train,
        "validation_accuracy": float(hits.mean()),
        "predicted_class": majority,
        "n_parameters": 0,
    }
    write_rows(folder / "history.csv", history, columns=list(history[0]))
    write_json(
        folder / "decisions.json",
        {
            "classes": classes,
            "class_shares": {name: counts[name] / n_train for name in classes},
            "models": {name: {"temperature": value} for name, value in temperatures.items()},
        },
    )
    return table


def remove_unlisted(names: Sequence[str], *, models: Path, others: Sequence[Path]) -> None:
    """Remove what models left that are no longer listed; DVC keeps it all in its cache.

    A folder with leftovers would have another hash here than at a colleague's, where
    `dvc pull` brings the listed models alone, and stages that read it would run again there.

    Args:
        names: the models listed in params.
        models: the folder of trained models.
        others: folders with a `<model>.json` each.
    """
    for path in sorted(models.iterdir()):
        if path.is_dir() and path.name not in names and (path / "model.json").is_file():
            say(f"  removing {path}: not listed in params.yaml (DVC's cache keeps it)")
            shutil.rmtree(path)
    for folder in others:
        for path in sorted(folder.glob("*.json")):
            if path.stem not in names:
                path.unlink()
