"""Explain prediction sets that have all classes: why, and what to do."""

import math
from collections.abc import Mapping

from classifold.data.json_file import DECIMAL_PLACES
from classifold.reporting.formats import PERCENT

ROUNDING = 1e-9  # of products of a level
MIN_THRESHOLD = 10**-DECIMAL_PLACES  # a lower probability is rounded down to 0

REMEDIES = {  # by the split that sets are calibrated on
    "calibration": "Raise split.fractions.calibration, add images",
    "train": "Add images",
    "validation": "Add images, set stack.folds: 5 to calibrate on training images",
}


def explain_full_sets(
    thresholds: Mapping[str, float], *, n_images: int, split: str, task: str
) -> list[str]:
    """Explain why the sets of some levels have all classes, and what to do.

    Args:
        thresholds: level of prediction sets -> threshold, 0 if sets have all classes.
        n_images: number of calibration images.
        split: to which they belong, `calibration`, `train` or `validation`.
        task: `single` or `multi`.

    Returns:
        Sentences; none if no level has such sets.
    """
    full = [level for level, threshold in thresholds.items() if not threshold]
    if not full:
        return []
    return [
        *(_explain(level, n_images=n_images, task=task) for level in full),
        _remedy(full, n_images=n_images, split=split),
    ]


def describe_level(level: str) -> str:
    """Format a level or an accuracy, such as 90 %."""
    return f"{100 * float(level):g}{PERCENT}"


def n_covered(level: str, *, n_images: int) -> int:
    """Compute of how many of the calibration images the sets must contain the label."""
    return math.ceil((n_images + 1) * float(level) - ROUNDING)


def _explain(level: str, *, n_images: int, task: str) -> str:
    n_needed = _n_needed(level)
    n_improbable = n_images - n_covered(level, n_images=n_images) + 1
    labeled = " with a label" if task == "multi" else ""
    too_few = f"the level takes at least {n_needed:,} calibration images{labeled}"
    if n_images < n_needed:
        why = f"{too_few}, and there are {n_images:,}"
    elif task == "single":
        why = (
            f"the labels of at least {n_improbable:,} of {n_images:,} calibration images have a "
            f"probability below {MIN_THRESHOLD:f}"
        )
    else:
        why = f"{too_few}, or too many labels have a probability below {MIN_THRESHOLD:f}"
    return f"At a level of {describe_level(level)}, sets have all classes: {why}."


def _remedy(levels: list[str], *, n_images: int, split: str) -> str:
    possible = math.floor(100 * n_images / (n_images + 1)) / 100
    if n_images >= max(map(_n_needed, levels)):
        remedy = "Set lower levels in params.yaml (evaluate.prediction_sets.levels)"
    elif possible:
        lower = f"evaluate.prediction_sets: {{levels: [{possible:g}]}}"
        remedy = f"{REMEDIES[split]}, or set lower levels in params.yaml, such as {lower}"
    else:
        remedy = REMEDIES[split]
    return f"{remedy}; then run 'dvc repro'."


def _n_needed(level: str) -> int:
    return math.ceil(float(level) / (1 - float(level)) - ROUNDING)
