"""Measure the quality of generated images in the feature space of a trained model.

No weights are downloaded. The measures can be compared only between GANs on the same images and
with the same model, like those of any other feature space.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.pack import Pack
from classifold.data.seeding import generator as random_numbers
from classifold.errors import UserError, list_names
from classifold.gan.distances import frechet_distance, nearest_distance, precision_recall
from classifold.models.inference import predict_features, predict_logits
from classifold.models.model_file import Model
from classifold.runtime.progress import log


class Images(NamedTuple):
    """A set of images to measure."""

    images: np.ndarray  # uint8 (N, H, W, 3)
    labels: np.ndarray | None  # int64 (N,); None if there are no labels


def measure_quality(
    real: Pack,
    generated: Pack,
    untrained: Pack,
    *,
    model: Model,
    neighbors: int,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """Measure the distance of generated images to real ones, with a lower and upper reference.

    Four sets are compared with one half of the real images: the other half (the lower reference),
    the generated images, images of the untrained generator, and noise. All sets have the same
    size, because the measures depend on it.

    Args:
        real: the images, without variants, that the generator was trained on.
        generated: images of the trained generator.
        untrained: images of the generator with its first weights.
        model: for features and predictions.
        neighbors: see `precision_recall`.
        seed: seed of the halves, and of the noise.
        device: to compute on.

    Returns:
        For `real`, `generated`, `untrained` and `noise`: frechet_distance, precision, recall,
        nearest_distance; and, if images have classes, agreement: the fraction of images for which
        the model predicts their class.

    Raises:
        UserError: if the model has other classes, or if there are too few images.
    """
    if model.classes != real.classes:
        raise UserError(
            f"sample_gan.model: must have the classes of the training images "
            f"({len(real.classes)}: {list_names(real.classes)}), got {len(model.classes)}: "
            f"{list_names(model.classes)}. Run 'dvc repro', or choose another model."
        )
    n_images = min(len(real.labels) // 2, len(generated.images))
    if n_images <= neighbors:
        raise UserError(
            f"sample_gan.neighbors: must be smaller than each set of images ({n_images}), got "
            f"{neighbors}. Lower it, or raise sample_gan.n_images."
        )
    draws = random_numbers(seed, "quality")
    first, second = (
        order[:n_images] for order in np.array_split(draws.permutation(len(real.labels)), 2)
    )
    noise = draws.integers(0, 256, (n_images, *real.images.shape[1:]), dtype=np.uint8)
    sets = {
        "real": _image_set(real, np.sort(second), model),
        "generated": _image_set(generated, np.arange(n_images), model),
        "untrained": _image_set(untrained, np.arange(n_images), model),
        "noise": Images(noise, None),
    }

    size: dict[str, Any] = {
        "image_size": model.preprocessing["image_size"],
        "normalize": model.preprocessing["normalize"],
        "device": device,
    }
    reference = predict_features(model.network, real.images[np.sort(first)], **size)
    n_features = reference.shape[1]
    if n_images <= n_features:
        log(
            f"  {n_images:,} images for {n_features:,} features: the covariances do not have full "
            "rank, so compare Fréchet distances only with one another"
        )
    measured: dict[str, Any] = {
        "n_images": n_images,
        "n_features": n_features,
    }
    for name, images in sets.items():
        features = predict_features(model.network, images.images, **size)
        precision, recall = precision_recall(reference, features, neighbors=neighbors)
        measured[name] = {
            "frechet_distance": frechet_distance(reference, features),
            "precision": precision,
            "recall": recall,
            "nearest_distance": nearest_distance(features, to=reference),
        }
        if images.labels is not None:
            predictions = predict_logits(model.network, images.images, **size).argmax(1)
            measured[name] |= _agreement(predictions, images.labels, model.classes)
    return measured


def _agreement(predictions: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    agrees = predictions == labels
    return {
        "agreement": float(agrees.mean()),
        "agreement_by_class": {
            name: float(agrees[labels == i].mean())
            for i, name in enumerate(classes)
            if (labels == i).any()
        },
    }


def _image_set(pack: Pack, rows: np.ndarray, model: Model) -> Images:
    known = pack.task == "single" and pack.classes == model.classes
    return Images(pack.images[rows], pack.labels[rows] if known else None)
