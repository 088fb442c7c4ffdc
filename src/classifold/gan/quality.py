"""How good generated images are, measured in the feature space of a model of ours.

No weights are downloaded. The measures are of worth between GANs on the same images and with the
same model alone, as are those of any other feature space.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from classifold.data.pack import Pack
from classifold.data.seeding import generator as random_numbers
from classifold.errors import UserError
from classifold.gan.distances import frechet_distance, nearest_distance, precision_recall
from classifold.models.inference import predict_features, predict_logits
from classifold.models.model_file import Model
from classifold.runtime.progress import log


class Images(NamedTuple):
    """A set that is measured."""

    images: np.ndarray  # uint8 (N, H, W, 3)
    labels: np.ndarray | None  # that the model may agree with, int64 (N,); None: there are none


def measure_quality(
    real: Pack,
    generated: Pack,
    untrained: Pack,
    *,
    model: Model,
    neighbours: int,
    seed: int,
    device: torch.device,
) -> dict[str, Any]:
    """Measure how far generated images lie from real ones, between a floor and a ceiling.

    All are compared with one half of the real images: the other half (the floor: no generator
    need come closer), what was generated, what the generator made before it was trained, and
    noise. Of each as many are taken, since the measures depend on the number.

    Args:
        real: the images without copies that the generator was trained on.
        generated: by the trained generator.
        untrained: by its first weights.
        model: whose features are compared, and who is asked for classes.
        neighbours: see `precision_recall`.
        seed: of the halves, and of the noise.
        device: where to compute.

    Returns:
        For `real`, `generated`, `untrained` and `noise`: frechet_distance, precision, recall,
        nearest_distance; and agreement, the share that the model calls by the class that was
        asked for, where one was.

    Raises:
        UserError: if the model knows other classes, or if there are too few images.
    """
    if model.classes != real.classes:
        raise UserError(
            f"sample_gan.model was trained on {len(model.classes)} classes "
            f"({_listed(model.classes)}), and the training images have {len(real.classes)} "
            f"({_listed(real.classes)}); run 'dvc repro', or name another model"
        )
    n_images = min(len(real.labels) // 2, len(generated.images))
    if n_images <= neighbours:
        raise UserError(
            f"two halves of {len(real.labels)} training images and {len(generated.images)} "
            f"generated ones must be more than sample_gan.neighbours ({neighbours}) each; "
            "lower it, or raise sample_gan.images"
        )
    draws = random_numbers(seed, "quality")
    first, second = (
        order[:n_images] for order in np.array_split(draws.permutation(len(real.labels)), 2)
    )
    noise = draws.integers(0, 256, (n_images, *real.images.shape[1:]), dtype=np.uint8)
    sets = {
        "real": _chosen(real, np.sort(second), model),
        "generated": _chosen(generated, np.arange(n_images), model),
        "untrained": _chosen(untrained, np.arange(n_images), model),
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
            f"  {n_images:,} images for {n_features:,} features: the covariances are not of full "
            "rank, and the distances of worth beside one another alone"
        )
    measured: dict[str, Any] = {
        "n_images": n_images,
        "n_features": n_features,
    }
    for name, images in sets.items():
        features = predict_features(model.network, images.images, **size)
        precision, recall = precision_recall(reference, features, neighbours=neighbours)
        measured[name] = {
            "frechet_distance": frechet_distance(reference, features),
            "precision": precision,
            "recall": recall,
            "nearest_distance": nearest_distance(features, to=reference),
        }
        if images.labels is not None:
            answers = predict_logits(model.network, images.images, **size).argmax(1)
            measured[name] |= _agreement(answers, images.labels, model.classes)
    return measured


def _agreement(answers: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    agrees = answers == labels
    return {
        "agreement": float(agrees.mean()),
        "agreement_by_class": {
            name: float(agrees[labels == i].mean())
            for i, name in enumerate(classes)
            if (labels == i).any()
        },
    }


def _chosen(pack: Pack, rows: np.ndarray, model: Model) -> Images:
    known = pack.task == "single" and pack.classes == model.classes
    return Images(pack.images[rows], pack.labels[rows] if known else None)


def _listed(classes: list[str]) -> str:
    return ", ".join(classes[:3]) + (", …" if len(classes) > 3 else "")
