"""What networks answer before any training: the check that training taught them something.

Source: report 001, section 6 (the validation set is passed through the untrained network).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from classifold.evaluation.inference import model_logits
from classifold.models.model_file import load_model, untrained


def untrained_logits(
    pixels: np.ndarray, *, models: Path, seeds: Mapping[str, int], device: torch.device
) -> dict[str, np.ndarray]:
    """Ask networks with their first weights; published weights, if they had some, are left out.

    Args:
        pixels: uint8 array (N, size, size, 3), as the trained models get them.
        models: folder of trained models.
        seeds: model -> seed of its first weights.
        device: where networks compute.

    Returns:
        Model -> float32 array (N, n_classes).
    """
    return {
        name: model_logits(
            untrained(load_model(models / name), seed=seed),
            pixels,
            device=device,
            flips="none",
            shift=0,
        )
        for name, seed in seeds.items()
    }
