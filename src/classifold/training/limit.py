"""The short form of a training run: a few epochs per phase."""

from collections.abc import Mapping
from typing import Any


def cap_epochs(model: Mapping[str, Any], *, epochs: int | None) -> dict[str, Any]:
    """Limit each phase of a model in params to at most `epochs` epochs; None is no limit.

    Schedules that depend on the length of a phase are shortened with it: the warm-up of a cosine
    keeps its fraction. A cycle keeps its steps, a plateau its patience. A probe has no phases.
    """
    if epochs is None or "phases" not in model:
        return dict(model)
    return {
        **model,
        "phases": {name: _cap(phase, epochs) for name, phase in model["phases"].items()},
    }


def _cap(phase: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    if phase["epochs"] <= epochs:
        return dict(phase)
    schedule = dict(phase["schedule"])
    if schedule["name"] == "cosine":
        schedule["warmup_epochs"] *= epochs / phase["epochs"]
    return {**phase, "epochs": epochs, "schedule": schedule}
