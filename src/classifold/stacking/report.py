"""What the stack gains over its members, on validation images."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from classifold.intervals import gain_interval
from classifold.stacking.ensemble import mean_logits

RESAMPLES = 10_000


def stack_metrics(
    logits: Mapping[str, np.ndarray],
    stacked: np.ndarray,
    labels: np.ndarray,
    *,
    method: str,
    seed: int,
) -> dict[str, Any]:
    """Collect `metrics/stack.json`.

    Args:
        logits: member -> float array (N, n_classes) on validation images.
        stacked: float array (N, n_classes): the stack's, out of fold.
        labels: int array (N,).
        method: of the stack.
        seed: of the bootstrap.
    """
    hits = {name: values.argmax(axis=1) == labels for name, values in logits.items()}
    best = max(hits, key=lambda name: hits[name].mean())  # of equals the first listed
    stack_hits = stacked.argmax(axis=1) == labels
    mean_hits = mean_logits(list(logits.values())).argmax(axis=1) == labels
    return {
        "method": method,
        "members": list(logits),
        "n_members": len(logits),
        "validation_accuracy": float(stack_hits.mean()),
        "best_member": best,
        "best_member_accuracy": float(hits[best].mean()),
        "mean_accuracy": float(mean_hits.mean()),
        "gain": float(stack_hits.mean() - hits[best].mean()),
        "gain_ci95": gain_interval(stack_hits, hits[best], resamples=RESAMPLES, seed=seed),
        "n_images": len(labels),
    }
