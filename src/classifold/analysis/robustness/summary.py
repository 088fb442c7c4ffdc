"""Collect `metrics/robustness.json` and the tables of `data/robustness/`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifold.analysis.robustness.conditions import CLEAN, Predicted
from classifold.analysis.robustness.sample import Sample
from classifold.analysis.robustness.severities import calibrated_size
from classifold.data.csv_file import rounded, write_rows
from classifold.data.metrics import MAIN_METRIC, task_of
from classifold.data.predictions import STACK
from classifold.evaluation.intervals import (
    ratio_gain_interval,
    ratio_interval,
    ratio_quotient_interval,
    score_terms,
)

SCORED = ("n_images", "score", "low", "high")
COLUMNS = {
    "corruptions.csv": ("model", "corruption", "severity", *SCORED),
    "severities.csv": ("model", "severity", *SCORED),
    "attacks.csv": ("model", "attack", "epsilon", *SCORED),
}

Terms = tuple[np.ndarray, np.ndarray]


def summarize_robustness(
    corrupted: Mapping[str, Predicted],
    attacked: Mapping[str, Predicted],
    sample: Sample,
    *,
    image_size: int | None,
    equal_to_stack: Collection[str] = (),
) -> dict[str, Any]:
    """Collect `metrics/robustness.json`.

    Args:
        corrupted: model -> its predictions, also those for `CLEAN`.
        attacked: model -> its predictions.
        sample: the images, of which the first ones are attacked.
        image_size: width and height of the images in pixels; None without images.
        equal_to_stack: models that are the stack, such as its only member: the interval of their
            difference is [0, 0].
    """
    labels = sample.images.labels
    return {
        "n_images": len(labels),
        "n_test_images": sample.n_test,
        "image_size": image_size,
        "calibrated_size": calibrated_size(image_size) if image_size else None,
        "n_attacked_images": _n_images(attacked),
        "models": {
            name: _summarize_corruptions(predicted, labels)
            | _compare(predicted, corrupted[STACK], labels, is_stack=name in equal_to_stack)
            | _summarize_attacks(attacked.get(name, {}), labels)
            for name, predicted in corrupted.items()
        },
    }


def format_robustness(metrics: Mapping[str, Any]) -> str:
    """Format the scores of the stack, such as "accuracy 0.9800, corrupted 0.8312 (0.77-0.88)"."""
    entry = metrics["models"][STACK]
    metric = next(metric for metric in MAIN_METRIC.values() if metric in entry)
    low, high = entry[f"corrupted_{metric}_ci95"]
    return (
        f"{metric.replace('_', ' ')} {entry[metric]:.4f}, corrupted "
        f"{entry[f'corrupted_{metric}']:.4f} ({low:.4f}-{high:.4f})"
    )


def write_tables(
    folder: Path,
    corrupted: Mapping[str, Predicted],
    attacked: Mapping[str, Predicted],
    labels: np.ndarray,
) -> None:
    """Write the tables into `folder`, with clean images at severity or epsilon 0.

    Args:
        folder: an existing folder.
        corrupted: model -> its predictions, also those for `CLEAN`.
        attacked: model -> its predictions for the first of the images.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
    """
    n_attacked = _n_images(attacked)
    first = {
        name: {(attack, 0): corrupted[name][CLEAN][:n_attacked] for attack, _ in predicted}
        | predicted
        for name, predicted in attacked.items()
    }
    rows = {
        "corruptions.csv": (
            {"model": model, "corruption": name, "severity": severity, **_scored([one], labels)}
            for model, predicted in corrupted.items()
            for (name, severity), one in predicted.items()
        ),
        "severities.csv": (
            {"model": model, "severity": severity, **_scored(_chosen(predicted, severity), labels)}
            for model, predicted in corrupted.items()
            for severity in dict.fromkeys(severity for _, severity in predicted)
        ),
        "attacks.csv": (
            {"model": model, "attack": name, "epsilon": epsilon, **_scored([one], labels)}
            for model, predicted in first.items()
            for (name, epsilon), one in sorted(predicted.items())
        ),
    }
    for file, columns in COLUMNS.items():
        write_rows(folder / file, rows[file], columns=columns, plotted=True)


def pooled_terms(predicted: Sequence[np.ndarray], labels: np.ndarray) -> Terms:
    """Average the numerators and denominators of a score over conditions, image by image.

    Args:
        predicted: for each condition the predictions for the first n of N images.
        labels: of N images.

    Returns:
        Two arrays (n,). The ratio of their sums is the mean accuracy over the conditions, or micro
        F1 over the images of all conditions.
    """
    terms = [score_terms(one, labels[: len(one)]) for one in predicted]
    parts, wholes = (np.mean(each, axis=0) for each in zip(*terms, strict=True))
    return parts, wholes


def _summarize_corruptions(predicted: Predicted, labels: np.ndarray) -> dict[str, Any]:
    """Measure one model on clean images and under all corruptions."""
    metric = MAIN_METRIC[task_of(labels)]
    of_clean, of_corrupted = (
        pooled_terms(each, labels) for each in ([predicted[CLEAN]], _corrupted(predicted))
    )
    clean, corrupted = _ratio(of_clean), _ratio(of_corrupted)
    names, severities = (dict.fromkeys(keys) for keys in zip(*predicted, strict=True))
    entry: dict[str, Any] = {
        metric: clean,
        f"{metric}_ci95": ratio_interval(*of_clean),
        f"corrupted_{metric}": corrupted,
        f"corrupted_{metric}_ci95": ratio_interval(*of_corrupted),
        f"relative_{metric}": corrupted / clean if clean else None,
        f"relative_{metric}_ci95": (
            ratio_quotient_interval(*of_corrupted, *of_clean) if clean else None
        ),
    }
    for key, values in {"corruptions": names, "severities": severities}.items():
        entry[key] = {
            str(value): _ratio(pooled_terms(_chosen(predicted, value), labels))
            for value in values
            if value not in CLEAN
        }
    return entry


def _compare(
    predicted: Predicted, stack: Predicted, labels: np.ndarray, *, is_stack: bool
) -> dict[str, Any]:
    """Compare a model with the stack under all corruptions; nothing for the stack itself."""
    if predicted is stack:
        return {}
    terms, of_stack = (pooled_terms(_corrupted(each), labels) for each in (predicted, stack))
    interval = [0.0, 0.0] if is_stack else ratio_gain_interval(*terms, *of_stack)
    difference = _ratio(terms) - _ratio(of_stack)
    return {"corrupted_versus_stack": {"difference": difference, "difference_ci95": interval}}


def _summarize_attacks(predicted: Predicted, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Score each attack: its name -> perturbation bound in gray levels -> score."""
    scores: dict[str, dict[str, float]] = {}
    for (name, epsilon), one in predicted.items():
        scores.setdefault(name, {})[str(epsilon)] = _ratio(pooled_terms([one], labels))
    return scores


def _corrupted(predicted: Predicted) -> list[np.ndarray]:
    return [one for condition, one in predicted.items() if condition != CLEAN]


def _chosen(predicted: Predicted, value: str | int) -> list[np.ndarray]:
    """Choose the predictions under one corruption, or at one severity."""
    return [one for condition, one in predicted.items() if value in condition]


def _n_images(attacked: Mapping[str, Predicted]) -> int:
    return next((len(one) for of_model in attacked.values() for one in of_model.values()), 0)


def _scored(predicted: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, Any]:
    terms = pooled_terms(predicted, labels)
    low, high = ratio_interval(*terms)
    return rounded({"n_images": len(terms[0]), "score": _ratio(terms), "low": low, "high": high})


def _ratio(terms: Terms) -> float:
    parts, wholes = terms
    return float(parts.sum() / max(wholes.sum(), 1e-12))
