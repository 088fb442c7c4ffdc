"""The features of training images, to which other images are compared.

The stage `novelty` writes them, and `explain`, `predict` and `serve` read them. `features.npy` is a
float16 array (N, n_features), each row of length 1; `images.csv` has the id and the label of each
row; `novelty.json` the name of the model and the threshold of novelty.
"""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from classifold.analysis.features.nearest import (
    MIN_IMAGES,
    N_NEIGHBORS,
    Nearest,
    find_nearest,
    fit_novelty_threshold,
    unit_rows,
)
from classifold.data.csv_file import read_rows, write_rows
from classifold.data.json_file import read_json, write_json
from classifold.data.pack import Pack
from classifold.data.predictions import label_names
from classifold.data.seeding import generator
from classifold.errors import UserError
from classifold.params.schema.section import ModelName
from classifold.params.validation import validation_errors
from classifold.runtime.faults import REMEDY, explain_damage

MAX_IMAGES = 10_000
MAX_VALUES = 2**26  # of all features: 128 MiB in the file, 512 MiB in memory

DESCRIPTION, FEATURES, IMAGES = "novelty.json", "features.npy", "images.csv"


class _Description(BaseModel):
    """The content of `novelty.json`, which may be of unknown origin."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: ModelName
    threshold: Annotated[float, Field(ge=0, le=2)] | None
    n_train: Annotated[int, Field(ge=1)]


class TrainingImages(NamedTuple):
    """Features of training images without augmented variants; row i of each is image i."""

    model: str  # name of the model that computed the features
    features: np.ndarray  # float64 (N, n_features), each row of length 1, or 0
    ids: list[str]
    labels: list[str]  # several are joined by `|`
    threshold: float | None  # of novelty; None if it was fitted on too few images
    n_train: int  # number of training images, of which these are a sample

    def nearest(self, features: np.ndarray, *, k: int = N_NEIGHBORS) -> Nearest:
        """Find the k nearest of these images: see `find_nearest`.

        Raises:
            UserError: if these features are of another network.
        """
        expected = self.features.shape[1]
        if len(features) and features.shape[1] != expected:
            raise UserError(
                f"data/novelty/{FEATURES}: must have the {features.shape[1]:,} features of the "
                f"model in data/explained_model, got {expected:,}. Update it with 'dvc repro "
                "novelty'."
            )
        return find_nearest(features, self.features, k=k)

    def is_novel(self, nearest: Nearest) -> np.ndarray:
        """Find the images whose novelty is above the threshold: bool array (N,)."""
        return nearest.novelty > (np.inf if self.threshold is None else self.threshold)


def sample_rows(n_images: int, *, seed: int, n_features: int = 1) -> np.ndarray:
    """Select all of some images, or a random sample of `MAX_IMAGES` with `MAX_VALUES` features.

    Args:
        n_images: number of images.
        seed: seed of the sample.
        n_features: number of features of an image.

    Returns:
        int array of increasing rows.
    """
    n_sampled = max(1, min(MAX_IMAGES, MAX_VALUES // n_features))
    if n_images <= n_sampled:
        return np.arange(n_images)
    return np.sort(generator(seed, "neighbors").permutation(n_images)[:n_sampled])


def fit_training_images(
    sample: Pack,
    features: np.ndarray,
    held_out_features: np.ndarray,
    *,
    model: str,
    n_train: int,
) -> TrainingImages:
    """Prepare training images for comparisons, and fit the threshold on images that were held out.

    Args:
        sample: training images without augmented variants.
        features: float array (N, n_features), of the sample.
        held_out_features: float array (n_held_out, n_features).
        model: name of the model that computed them.
        n_train: number of training images without variants.
    """
    rows = as_stored(features)
    novelty = find_nearest(held_out_features, rows).novelty
    labels = label_names(sample.labels, sample.classes)
    threshold = fit_novelty_threshold(novelty)
    return TrainingImages(model, rows, sample.ids, labels, threshold, n_train)


def novelty_metrics(images: TrainingImages, *, split: str, n_images: int) -> dict[str, Any]:
    """Collect `metrics/novelty.json`; the threshold was fitted on `n_images` of this split."""
    return {
        "model": images.model,
        "n_train_images": images.n_train,
        "n_compared": len(images.ids),
        "n_features": images.features.shape[1],
        "calibrated_on": split,
        "n_calibration_images": n_images,
        "threshold": images.threshold,
    }


def describe_missing_threshold(split: str, n_images: int) -> str | None:
    """Describe why there is no threshold; None if there is one."""
    if n_images >= MIN_IMAGES:
        return None
    return (
        f"a threshold of novelty needs at least {MIN_IMAGES} {split} images, and there are "
        f"{n_images}"
    )


def save_training_images(folder: Path, images: TrainingImages) -> None:
    """Write the files into `folder`; the same features give the same bytes."""
    np.save(folder / FEATURES, images.features.astype(np.float16), allow_pickle=False)
    pairs = zip(images.ids, images.labels, strict=True)
    rows = ({"id": image_id, "label": label} for image_id, label in pairs)
    write_rows(folder / IMAGES, rows, columns=("id", "label"))
    description = {name: getattr(images, name) for name in ("model", "threshold", "n_train")}
    write_json(folder / DESCRIPTION, description)


def load_training_images(folder: Path) -> TrainingImages:
    """Read what `save_training_images` wrote.

    Raises:
        UserError: if a file is missing or damaged, or the files do not belong together.
    """
    path = folder / FEATURES
    with explain_damage(path, kind="a NumPy array of features"):
        features = np.load(path, mmap_mode="r", allow_pickle=False)
        if not (isinstance(features, np.memmap) and features.ndim == 2 and features.size):
            raise ValueError("no table of numbers")
        if features.dtype != np.float16 or features.size > MAX_VALUES:
            raise ValueError(f"not at most {MAX_VALUES:,} numbers of type float16")
        if not np.isfinite(features).all():
            raise ValueError("NaN or infinity")
    description, rows = read_json(folder / DESCRIPTION), read_rows(folder / IMAGES)
    if errors := validation_errors(_Description, description):
        raise UserError(f"{folder / DESCRIPTION}: not valid ({errors[0]}); {REMEDY}")
    if len(rows) != len(features):
        raise UserError(
            f"{folder / IMAGES}: must have a row for each of {len(features):,} images in "
            f"{path.name}, got {len(rows):,}; {REMEDY}"
        )
    return TrainingImages(
        **description,
        features=unit_rows(features),
        ids=[row["id"] for row in rows],
        labels=[row["label"] for row in rows],
    )


def as_stored(features: np.ndarray) -> np.ndarray:
    """Compute the rows that are read after these features are stored with 16 bits."""
    return unit_rows(unit_rows(features).astype(np.float16))
