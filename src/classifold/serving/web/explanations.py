"""Explain the prediction for one image: the pixels that count, and similar training images."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from classifold.analysis.explain.saliency import MAX_BATCH_SIZE, grad_cam, occlusion
from classifold.data.json_file import read_json
from classifold.models.inference import batch_size_of
from classifold.models.preprocessing import to_input
from classifold.reporting.pictures import THUMBNAIL_SIDE, to_uri
from classifold.serving.new_images import NewPixels
from classifold.serving.predict import Classifier

OCCLUDED_FRACTION = 0.2  # of the side, for networks without a convolution
MAX_OPACITY = 0.75


class Explainer:
    """Explains predictions by one network: the classifier's own, or of a stack one member."""

    def __init__(self, classifier: Classifier, *, explained_model: Path) -> None:
        """Choose the network.

        Args:
            classifier: the stack or a model.
            explained_model: folder of the model that the report explains; it is used if it is a
                member, and the first member if not.
        """
        self._classifier = classifier
        name_file = explained_model / "name.json"
        preferred = read_json(name_file)["model"] if name_file.is_file() else None
        self.name = preferred if preferred in classifier.members else next(iter(classifier.members))

    def explain(self, name: str, image: NewPixels, class_name: str | None) -> dict[str, Any]:
        """Explain an image, in the thread of the networks; see `schema.Explanation`.

        Thumbnails are added later, since reading them needs no network.

        Args:
            name: of the image.
            image: one that could be decoded.
            class_name: the class to explain; None: the most probable one.
        """
        assert image.pixels is not None  # noqa: S101 - for mypy
        if class_name is None:
            (prediction,) = self._classifier.predict_decoded([(name, image)])
            class_name = next(iter(prediction.probabilities))
        method, strength = self._locate(image.pixels, self._classifier.classes.index(class_name))
        return {
            "image": name,
            "explained": class_name,
            "model": self.name,
            "method": method,
            "map": _png(_overlay(strength)),
            "resized": _png(image.pixels[..., ::-1]),
            "nearest": self._nearest(image.pixels),
        }

    def add_thumbnails(self, explanation: dict[str, Any]) -> dict[str, Any]:
        """Add the pictures of the nearest training images, in any thread."""
        nearest = explanation["nearest"] or []
        ids = [one["id"] for one in nearest]
        thumbnails = self._classifier.thumbnails(ids, side=THUMBNAIL_SIDE)
        for one in nearest:
            one["thumbnail"] = to_uri(thumbnails[one["id"]])
        return explanation

    def _nearest(self, pixels: np.ndarray) -> list[dict[str, Any]] | None:
        if self._classifier.comparison is None or not self._classifier.ingested.is_dir():
            return None
        (nearest,) = self._classifier.nearest(pixels[None])
        return [one._asdict() for one in nearest]

    def _locate(self, pixels: np.ndarray, class_index: int) -> tuple[str, np.ndarray]:
        model, device = self._classifier.members[self.name], self._classifier.device
        model.use_threads()
        network = model.network.to(device)
        settings: Mapping[str, Any] = model.preprocessing
        inputs = to_input(
            pixels[None],
            image_size=settings["image_size"],
            normalize=settings["normalize"],
            device=device,
        ).requires_grad_()
        strength = grad_cam(network, inputs, class_index)
        if strength is not None:
            return "Grad-CAM", strength
        return "occlusion", _occlusion(network, inputs.detach(), class_index)


def _occlusion(network: nn.Module, inputs: torch.Tensor, class_index: int) -> np.ndarray:
    return occlusion(
        network,
        inputs,
        class_index,
        fraction=OCCLUDED_FRACTION,
        batch_size=min(MAX_BATCH_SIZE, batch_size_of(inputs.shape[-1], inputs.device)),
    )


def _overlay(strength: np.ndarray) -> np.ndarray:
    """Color a map in [0, 1]: uint8 (H, W, 4), transparent where nothing matters."""
    values = np.round(255 * strength).astype(np.uint8)
    colors = cv2.applyColorMap(values, cv2.COLORMAP_INFERNO)
    return np.dstack([colors, np.round(MAX_OPACITY * values).astype(np.uint8)])


def _png(pixels: np.ndarray) -> str:
    """Encode uint8 (H, W, 3 or 4), blue first, as a data: address."""
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    return f"data:image/png;base64,{base64.b64encode(encoded).decode('ascii')}"
