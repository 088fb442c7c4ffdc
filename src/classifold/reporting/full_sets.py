"""Explain prediction sets that have all classes: why, and what to do."""

import math
from collections.abc import Mapping

from classifold.data.json_file import DECIMAL_PLACES
from classifold.reporting.formats import PERCENT

ROUNDING = 1e-9  # of products of a level
MIN_THRESHOLD = 10**-DECIMAL_PLACES  # a lower probability is rounded down to 0

REMEDIES = {  # by the split that sets are calibrated on
    "calibration": ["add images", "raise split.fractions.calibration and reduce the others"],
    "train": ["add images"],
    "validation": ["add images", "set stack.folds: 5 to calibrate on training images"],
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
    reasons = describe_full_sets(thresholds, n_images=n_images, task=task)
    return [*reasons, _advise(thresholds, n_images=n_images, split=split)] if reasons else []


def describe_full_sets(thresholds: Mapping[str, float], *, n_images: int, task: str) -> list[str]:
    """Describe why the sets of some levels have all classes, a sentence per level.

    The arguments are those of `explain_full_sets`.
    """
    full = [level for level, threshold in thresholds.items() if not threshold]
    return [_describe(level, n_images=n_images, task=task) for level in full]


def describe_level(level: str) -> str:
    """Format a level or an accuracy, such as 90 %."""
    return f"{100 * float(level):g}{PERCENT}"


def n_covered(level: str, *, n_images: int) -> int:
    """Compute of how many of the calibration images the sets must contain the label."""
    return math.ceil((n_images + 1) * float(level) - ROUNDING)


def _describe(level: str, *, n_images: int, task: str) -> str:
    n_needed = _n_needed(level)
    labeled = " with a label" if task == "multi" else ""
    too_few = f"the level needs at least {n_needed:,} calibration images{labeled}"
    improbable = f"have a probability below {MIN_THRESHOLD:f}"
    if n_images < n_needed:
        why = f"{too_few}, got {n_images:,}"
    elif task == "single":
        n_improbable = n_images - n_covered(level, n_images=n_images) + 1
        of = f"{n_improbable:,} of {n_images:,} calibration images"
        why = f"the labels of at least {of} {improbable}"
    else:
        why = f"{too_few}, or too many labels {improbable}"
    return f"At a level of {describe_level(level)}, prediction sets have all classes: {why}."


def _advise(thresholds: Mapping[str, float], *, n_images: int, split: str) -> str:
    full = [level for level, threshold in thresholds.items() if not threshold]
    too_few = n_images < max(map(_n_needed, full))
    ways = [*REMEDIES[split]] if too_few else []
    possible = math.floor(100 * n_images / (n_images + 1)) / 100
    if len(full) < len(thresholds):
        ways.append(f"remove {', '.join(full)} from evaluate.prediction_sets.levels")
    elif not too_few:
        ways.append("set lower levels (evaluate.prediction_sets.levels)")
    elif 0 < possible < min(map(float, full)):
        ways.append(
            f"set lower levels, such as evaluate.prediction_sets: {{levels: [{possible:g}]}}"
        )
    text = " or ".join(filter(None, [", ".join(ways[:-1]), ways[-1]]))
    return f"{text[0].upper()}{text[1:]}; then run 'dvc repro'."


def _n_needed(level: str) -> int:
    return math.ceil(float(level) / (1 - float(level)) - ROUNDING)
