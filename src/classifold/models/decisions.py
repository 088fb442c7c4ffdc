"""Decisions: temperatures and thresholds for logits, fitted on validation images.

The thresholds of prediction sets and of abstention are fitted on images on which nothing else was
chosen, where there are some: a calibration split (`split.fractions.calibration`), or else
out-of-fold logits of training images (`stack.folds`). Evaluation and prediction apply a decision
and never fit one.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from scipy.special import expit, log_expit, softmax

from classifold.data.json_file import read_json
from classifold.data.metrics import f1, task_of
from classifold.errors import UserError
from classifold.models.abstention import all_correct, confidences, fit_confidence_threshold
from classifold.models.prediction_sets import fit_set_threshold
from classifold.params.schema.section import Fraction, ModelName
from classifold.params.validation import validation_errors
from classifold.runtime.faults import REMEDY

LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))
# Of files of unknown origin; fitted ones are in LOG_TEMPERATURES.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0

# Where params.yaml names none: the levels of prediction sets, and the wanted accuracies.
LEVELS, ACCURACIES = (0.9, 0.95), (0.95, 0.99)


def _check_unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("must be different names, got one twice")
    return names


def _check_fraction(text: str) -> str:
    if not re.fullmatch(r"0\.[0-9]{1,20}|[0-9]e-[0-9]{1,2}", text):
        raise ValueError(f"must be a number in (0, 1), got {text!r}")
    return text


# A level of prediction sets, or an accuracy, as a key.
Level = Annotated[str, AfterValidator(_check_fraction)]
SeedKey = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
Classes = Annotated[list[str], Field(min_length=1), AfterValidator(_check_unique)]


class _Decision(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    temperature: Annotated[float, Field(ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)]
    threshold: Fraction | None = None
    thresholds: list[Fraction] | None = None
    calibrated_on: Literal["calibration", "train", "validation"] = "validation"
    n_calibration_images: Annotated[int, Field(ge=0)] = 0
    prediction_sets: dict[Level, Fraction] = {}
    abstention: dict[Level, Fraction | None] = {}
    seeds: dict[SeedKey, "_Decision"] = {}  # of the same network, trained from other seeds


class _Decisions(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    task: Literal["single", "multi"]
    classes: Classes
    models: dict[ModelName, _Decision]


def read_decisions(path: Path) -> dict[str, Any]:
    """Read the decisions of all models, and the task and classes, as `compare` writes them.

    Raises:
        UserError: if the file is damaged.
    """
    return _valid(path, _Decisions)


def read_decision(path: Path) -> dict[str, Any]:
    """Read the decision of the stack, as `stack` writes it.

    Raises:
        UserError: if the file is damaged.
    """
    return _valid(path, _Decision)


def _valid(path: Path, schema: type[BaseModel]) -> dict[str, Any]:
    content = read_json(path)
    if errors := validation_errors(schema, content):
        raise UserError(f"{path}: not valid ({errors[0]}); {REMEDY}")
    return content


def fit_decision(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fit temperature and thresholds of a model.

    Args:
        logits: float array (N, n_classes) of images the network was not trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        `temperature`; with several labels also `threshold` (for all classes) and `thresholds`
        (one for each), of probabilities after the temperature.
    """
    temperature = fit_temperature(logits, labels)
    if labels.ndim == 1:
        return {"temperature": temperature}
    scaled = probabilities(logits, temperature=temperature, task="multi")
    return {
        "temperature": temperature,
        "threshold": fit_threshold(scaled, labels),
        "thresholds": [
            fit_threshold(of_class, positive)
            for of_class, positive in zip(scaled.T, labels.T, strict=True)
        ],
    }


def fit_uncertainty(
    decision: Mapping[str, Any],
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    settings: Mapping[str, Any],
    split: str,
) -> dict[str, Any]:
    """Add the thresholds of prediction sets and of abstention to a decision.

    Args:
        decision: as `fit_decision` returns it.
        logits: float array (N, n_classes) of calibration images: the network was not trained on
            them.
        labels: int array (N,), or 0 and 1 in (N, n_classes).
        settings: section `evaluate` of params; `prediction_sets.levels` and
            `abstention.accuracies` may be missing.
        split: to which the images belong, `calibration`, `train` or `validation`.

    Returns:
        The decision, with `calibrated_on` (the split), `n_calibration_images`, `prediction_sets`
        (level -> threshold) and `abstention` (accuracy -> threshold, or None).
    """
    task = task_of(labels)
    scaled = probabilities(logits, temperature=decision["temperature"], task=task)
    predicted = predict_labels(scaled, decision, task=task)
    confidence, correct = confidences(scaled, predicted), all_correct(predicted, labels)
    return {
        **decision,
        "calibrated_on": split,
        "n_calibration_images": len(labels),
        "prediction_sets": {
            str(level): fit_set_threshold(scaled, labels, level=level)
            for level in _setting(settings, "prediction_sets", "levels", LEVELS)
        },
        "abstention": {
            str(accuracy): fit_confidence_threshold(confidence, correct, accuracy=accuracy)
            for accuracy in _setting(settings, "abstention", "accuracies", ACCURACIES)
        },
    }


def _setting(
    settings: Mapping[str, Any], section: str, key: str, default: Sequence[float]
) -> Sequence[float]:
    return (settings.get(section) or {}).get(key, default)


def predict_labels(
    probabilities: np.ndarray, decision: Mapping[str, Any], *, task: str
) -> np.ndarray:
    """Predict the most probable class, or all classes above the threshold of the decision.

    Args:
        probabilities: float array (N, n_classes).
        decision: as `fit_decision` returns it.
        task: `single` or `multi`.

    Returns:
        int array (N,); in `multi` bool (N, n_classes).
    """
    if task == "single":
        return probabilities.argmax(axis=1)
    return probabilities > decision["threshold"]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the divisor of logits that minimizes log loss.

    As in Platt scaling, targets are smoothed by 1 / (N + 2), split between the other classes:
    otherwise the temperature of a network without errors on N images would be 0.

    Args:
        logits: float array (N, n_classes) of images the network was not trained on.
        labels: int array (N,), or 0 and 1 in (N, n_classes).

    Returns:
        A number in [0.05, 20]; above 1 the network was overconfident.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2; Platt 1999, section 2.2.
    """
    n_images, n_classes = logits.shape
    smoothing = 1 / (n_images + 2)
    logits = logits.astype(np.float64)
    if labels.ndim == 1:
        logits -= logits.max(axis=1, keepdims=True)  # exp can neither overflow nor be 0 for all
        truth = logits[np.arange(n_images), labels]
        others = (logits.sum(axis=1) - truth) / (n_classes - 1)
        targeted = ((1 - smoothing) * truth + smoothing * others).mean()
    else:
        targeted = (np.where(labels > 0, 1 - smoothing, smoothing) * logits).mean()

    # The cross-entropy of targets t is logsumexp(z) - t z with one label per image, or else
    # log(1 + exp(z)) - t z for each class.
    def log_loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if labels.ndim == 1:
            normalizers = np.log(np.exp(scaled).sum(axis=1))
        else:
            normalizers = -log_expit(-scaled)
        return normalizers.mean() - targeted / np.exp(log_temperature)

    # Not at the top: few stages fit, and the import takes most of a second.
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    return float(np.exp(minimize_scalar(log_loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def fit_threshold(values: np.ndarray, labels: np.ndarray) -> float:
    """Find the threshold with the highest F1 over all given pairs of image and class.

    Args:
        values: probabilities, float array of any shape.
        labels: 0 and 1, in the same shape.

    Returns:
        A number in (0, 1), in the middle between the lowest positive and the highest negative
        prediction; 0.5 if there are no positive labels, so that every threshold has an F1 of 0.
    """
    if not labels.any():
        return 0.5
    order = np.argsort(-values, axis=None, kind="stable")
    ranked, positive = values.ravel()[order], labels.ravel()[order]
    n_predicted = np.arange(1, len(ranked) + 1)
    scores = f1(positive.cumsum(), n_predicted, positive.sum())
    # Equal probabilities are on the same side of a threshold.
    scores[:-1][ranked[:-1] == ranked[1:]] = -1
    best = int(scores.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def probabilities(logits: np.ndarray, *, temperature: float, task: str = "single") -> np.ndarray:
    """Convert logits (N, n_classes) to probabilities, with a temperature.

    Returns:
        float64 (N, n_classes): rows that sum to 1 for one label per image (`single`), otherwise
        a sigmoid per class (`multi`).
    """
    scaled = logits.astype(np.float64) / temperature
    return softmax(scaled, axis=1) if task == "single" else expit(scaled)
