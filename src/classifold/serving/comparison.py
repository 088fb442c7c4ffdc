"""Compare new images with the training images, in the features of the explained model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.nearest import FALSE_POSITIVE_RATE, Nearest
from classifold.analysis.features.training_images import (
    DESCRIPTION,
    TrainingImages,
    load_training_images,
)
from classifold.errors import UserError
from classifold.models.explained_model import load_explained_model
from classifold.models.model_file import Model

MISSING = "there are no features of training images. Make them with 'dvc repro novelty'."


class Comparison(NamedTuple):
    """The training images, and the model that computes the features of new ones."""

    model: Model
    train: TrainingImages
    device: torch.device

    @classmethod
    def load(cls, data: Path, *, device: torch.device) -> "Comparison | None":
        """Read what the stages `compare` and `novelty` wrote.

        Args:
            data: the folder with their outputs.
            device: where to compute.

        Returns:
            None if `novelty` has not run, as in projects of earlier versions.

        Raises:
            UserError: if a file is missing or damaged, or the files do not belong together.
        """
        folder = data / "novelty"
        if not (folder / DESCRIPTION).is_file():
            return None
        train = load_training_images(folder)
        name, model = load_explained_model(data / "explained_model")
        if name != train.model:
            raise UserError(
                f"{folder}: must have the features of {name}, the model in data/explained_model, "
                f"got those of {train.model}. Update it with 'dvc repro novelty'."
            )
        return cls(model, train, device)

    def nearest(self, pixels: np.ndarray, *, k: int) -> Nearest:
        """Find the k nearest training images of uint8 images (N, pack_size, pack_size, 3)."""
        self.model.use_threads()
        return self.train.nearest(compute_features(self.model, pixels, device=self.device), k=k)

    def remarks(self, nearest: Nearest) -> list[str | None]:
        """Describe the images that are unlike the training images; None for the others."""
        return [
            f"unlike the training images: novelty {novelty:.3f} is above "
            f"{self.train.threshold:.3f}, the threshold that {100 * FALSE_POSITIVE_RATE:g} % of "
            "the validation images exceed"
            if is_novel
            else None
            for novelty, is_novel in zip(nearest.novelty, self.train.is_novel(nearest), strict=True)
        ]
