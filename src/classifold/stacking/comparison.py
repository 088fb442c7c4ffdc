"""Collect the listed models' results on validation images in `data/compared/`.

`<model>.npz` holds validation logits, `history.csv` all learning curves in long form, and
`decisions.json` what was fitted on images that the model was not trained on: for each model a
temperature, thresholds where images have several labels, and those of prediction sets and of
abstention; for its other seeds the first two. It also holds the class proportions of the training
images, from which the majority baseline makes its predictions. `weights.json` holds the published
weights that each model started from. `calibration/<model>.npz` holds logits of the calibration
split, if there is one. `out_of_fold/<model>.npz` holds logits of training images by heads of a
probe that were fitted without them.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.logits_file import Logits, load_logits
from classifold.data.metrics import micro_f1
from classifold.data.model_settings import seed_folder
from classifold.data.predictions import MAJORITY
from classifold.errors import UserError
from classifold.models.baseline import majority_baseline
from classifold.models.decisions import fit_decision, fit_uncertainty, probabilities

# Folders, and names of the models' files. They are missing where no model is a probe, or where
# there is no calibration split.
OUT_OF_FOLD, CALIBRATION = "out_of_fold", "calibration"


def compare_models(
    names: Sequence[str],
    folder: Path,
    *,
    models: Path,
    folds: Path,
    metrics: Path,
    evaluate: Mapping[str, Any],
    other_seeds: Mapping[str, Sequence[int]],
) -> dict[str, dict[str, Any]]:
    """Collect the logits, curves and metrics of exactly the listed models; fit their decisions.

    Args:
        names: the models listed in params.
        folder: an existing folder to write into.
        models: the folder of trained models.
        folds: the folder of their out-of-fold logits, which are empty where `stack.folds` is 0.
        metrics: the folder of their metrics.
        evaluate: the section `evaluate` of params, for `fit_uncertainty`.
        other_seeds: model -> seeds from which it was also trained.

    Returns:
        `metrics/models.json`: model -> its metrics; the majority baseline among them.

    Raises:
        UserError: if models have different validation images.
    """
    table: dict[str, dict[str, Any]] = {}
    history: list[dict[str, str]] = []
    decisions: dict[str, dict[str, Any]] = {}
    weights: dict[str, dict[str, Any] | None] = {}
    first = load_logits(models / names[0] / "validation.npz")
    for name in names:
        logits = load_logits(models / name / "validation.npz")
        if not np.array_equal(logits.ids, first.ids):
            raise UserError(
                f"model '{name}': its validation images are not those of '{names[0]}'. "
                f"Run 'dvc repro -f train@{name}'."
            )
        shutil.copyfile(models / name / "validation.npz", folder / f"{name}.npz")
        for held_out in (OUT_OF_FOLD, CALIBRATION):
            if (file := models / name / f"{held_out}.npz").is_file():
                (folder / held_out).mkdir(exist_ok=True)
                shutil.copyfile(file, folder / held_out / f"{name}.npz")
        out_of_fold = load_logits(folds / name / "logits.npz")
        split, calibration = "validation", logits
        if (file := models / name / f"{CALIBRATION}.npz").is_file():
            split, calibration = "calibration", load_logits(file)
        elif len(out_of_fold.labels):
            split, calibration = "train", out_of_fold
        decisions[name] = fit_uncertainty(
            fit_decision(logits.logits, logits.labels),
            calibration.logits,
            calibration.labels,
            settings=evaluate,
            split=split,
        )
        if other_seeds[name]:
            decisions[name]["seeds"] = _decisions_of_seeds(models / name, other_seeds[name])
        history += [{"model": name, **row} for row in read_rows(models / name / "history.csv")]
        weights[name] = read_json(models / name / "model.json").get("weights")
        table[name] = read_json(metrics / f"{name}.json")
        table[name] |= _decision_metrics(logits, decisions[name])

    description = read_json(models / names[0] / "model.json")
    classes, n_train = description["classes"], description["n_train_images"]
    proportions = {name: n / n_train for name, n in description["train_images_per_class"].items()}
    table[MAJORITY] = majority_baseline(first.labels, proportions)
    write_json(folder / "weights.json", weights)
    write_rows(folder / "history.csv", history, columns=list(history[0]), plotted=True)
    write_json(
        folder / "decisions.json",
        {
            "task": description["task"],
            "classes": classes,
            "class_proportions": proportions,
            "models": decisions,
        },
    )
    return table


def format_validation_scores(row: Mapping[str, Any]) -> str:
    """Format an entry of `metrics/models.json`, such as "validation accuracy 0.9500"."""
    if seeds := row.get("seeds"):
        shown = format_validation_scores({key: row[key] for key in row if key != "seeds"})
        return f"{shown}, of {seeds['n']} seeds {seeds['min']:.4f} to {seeds['max']:.4f}"
    if "validation_micro_f1" not in row:
        return f"validation accuracy {row['validation_accuracy']:.4f}"
    text = f"validation micro f1 {row['validation_micro_f1']:.4f}"
    if "threshold" in row:
        text += f", {row['micro_f1_at_threshold']:.4f} at its threshold of {row['threshold']:.2f}"
    return text


def _decisions_of_seeds(model: Path, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Fit the temperature and the thresholds of other seeds of a model: seed -> decision."""
    fitted = {}
    for seed in seeds:
        logits = load_logits(seed_folder(model, seed) / "validation.npz")
        fitted[str(seed)] = fit_decision(logits.logits, logits.labels)
    return fitted


def _decision_metrics(logits: Logits, decision: Mapping[str, Any]) -> dict[str, Any]:
    """The temperature, and with several labels the scores at the fitted thresholds."""
    metrics = {"temperature": decision["temperature"]}
    if "threshold" in decision:
        values = probabilities(logits.logits, temperature=decision["temperature"], task="multi")
        metrics["threshold"] = decision["threshold"]
        metrics["micro_f1_at_threshold"] = micro_f1(values > decision["threshold"], logits.labels)
        metrics["micro_f1_at_class_thresholds"] = micro_f1(
            values > np.array(decision["thresholds"]), logits.labels
        )
    return metrics
