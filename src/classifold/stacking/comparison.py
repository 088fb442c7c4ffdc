"""`data/compared/`: the listed models side by side on validation images.

`<model>.npz` holds validation logits, `history.csv` all learning curves in long form, and
`decisions.json` what was fitted on validation: for each model a temperature, and thresholds where
images bear several labels; and the shares of classes among training images, by which the
majority baseline answers.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import Logits, load_logits
from classifold.errors import UserError
from classifold.models.baseline import MAJORITY, majority_baseline
from classifold.models.decisions import fit_decision, micro_f1, probabilities
from classifold.runtime.progress import log


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
    decisions: dict[str, dict[str, Any]] = {}
    first = load_logits(models / names[0] / "validation.npz")
    for name in names:
        logits = load_logits(models / name / "validation.npz")
        if not np.array_equal(logits.ids, first.ids):
            raise UserError(
                f"model '{name}' was validated on other images than '{names[0]}'; run "
                f"'dvc repro -f train@{name}'"
            )
        shutil.copyfile(models / name / "validation.npz", folder / f"{name}.npz")
        decisions[name] = fit_decision(logits.logits, logits.labels)
        history += [{"model": name, **row} for row in read_rows(models / name / "history.csv")]
        table[name] = read_json(metrics / f"{name}.json")
        table[name] |= _decided(logits, decisions[name])

    description = read_json(models / names[0] / "model.json")
    classes, n_train = description["classes"], description["n_train_images"]
    shares = {name: n / n_train for name, n in description["train_images_per_class"].items()}
    table[MAJORITY] = majority_baseline(first.labels, shares)
    write_rows(folder / "history.csv", history, columns=list(history[0]))
    write_json(
        folder / "decisions.json",
        {
            "task": description["task"],
            "classes": classes,
            "class_proportions": shares,
            "models": decisions,
        },
    )
    return table


def format_validation_scores(row: Mapping[str, Any]) -> str:
    """Such as "validation accuracy 0.9500", of a row of `metrics/models.json`."""
    if "validation_micro_f1" not in row:
        return f"validation accuracy {row['validation_accuracy']:.4f}"
    told = f"validation micro f1 {row['validation_micro_f1']:.4f}"
    if "threshold" in row:
        told += f", {row['micro_f1_at_threshold']:.4f} at its threshold of {row['threshold']:.2f}"
    return told


def _decided(logits: Logits, decision: Mapping[str, Any]) -> dict[str, Any]:
    """What the metrics tell of a decision, and with several labels what it does to the score."""
    told = {"temperature": decision["temperature"]}
    if "threshold" in decision:
        values = probabilities(logits.logits, temperature=decision["temperature"], task="multi")
        told["threshold"] = decision["threshold"]
        told["micro_f1_at_threshold"] = micro_f1(values > decision["threshold"], logits.labels)
        told["micro_f1_at_class_thresholds"] = micro_f1(
            values > np.array(decision["thresholds"]), logits.labels
        )
    return told


def remove_unlisted(
    names: Sequence[str], *, folders: Mapping[Path, str], others: Sequence[Path]
) -> None:
    """Remove what models left that are no longer listed; DVC keeps it all in its cache.

    A folder with leftovers would have another hash here than at a colleague's, where
    `dvc pull` brings the listed models alone, and stages that read it would run again there.

    Args:
        names: the models listed in params.
        folders: folder with a folder a model -> the file by which these are known.
        others: folders with a `<model>.json` each.
    """
    for folder, mark in folders.items():
        for path in sorted(folder.glob("*")):
            if path.name not in names and (path / mark).is_file():
                log(f"  removing {path}: not listed in params.yaml (DVC's cache keeps it)")
                shutil.rmtree(path)
    for folder in others:
        for path in sorted(folder.glob("*.json")):
            if path.stem not in names:
                path.unlink()
