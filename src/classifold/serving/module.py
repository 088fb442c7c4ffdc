"""A classifier as one PyTorch module, from stored pixels to probabilities."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifold.models.inference import View, make_views
from classifold.models.model_file import Model
from classifold.models.preprocessing import Normalization, interpolated
from classifold.serving.predict import Classifier
from classifold.stacking.module import EnsembleModule


class ClassifierModule(nn.Module):
    """Images uint8 (N, size, size, 3) -> probabilities float32 (N, n_classes), on the CPU."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        size = classifier.pack_size
        self.members = nn.ModuleList(
            MemberModule(model, size=size, views=make_views(**classifier.test_time))
            for model in classifier.members.values()
        )
        self.ensemble = EnsembleModule(classifier.ensemble) if classifier.ensemble else None
        self.temperature = float(classifier.decision["temperature"])
        self.task = classifier.task

    def forward(self, images: Tensor) -> Tensor:
        """Run the members, combine their logits, and apply the temperature."""
        batch = images.permute(0, 3, 1, 2).to(torch.float32)
        logits = [member(batch) for member in self.members]
        scaled = (self.ensemble(logits) if self.ensemble else logits[0]) / self.temperature
        return F.softmax(scaled, dim=1) if self.task == "single" else torch.sigmoid(scaled)


class MemberModule(nn.Module):
    """Images float32 (N, 3, size, size) in [0, 255] -> logits: a network with its preprocessing.

    Logits are averaged over views, as in `predict_logits`.
    """

    mean: Tensor
    std: Tensor
    weights: Tensor | None

    def __init__(self, model: Model, *, size: int, views: Sequence[View]) -> None:
        super().__init__()
        self.views = views
        image_size = model.preprocessing["image_size"]
        mean, std, interpolation = Normalization.of(model.preprocessing["normalize"])
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))
        weights = (
            None
            if image_size == size
            else interpolation_weights(size, image_size, interpolation=interpolation)
        )
        self.register_buffer("weights", weights)
        self.network = model.network.to("cpu")

    def forward(self, batch: Tensor) -> Tensor:
        """Average the logits over the views."""
        return torch.stack([self._logits(_transform(batch, view)) for view in self.views]).mean(0)

    def _logits(self, batch: Tensor) -> Tensor:
        if self.weights is not None:
            batch = self.weights @ batch @ self.weights.T
        return self.network((batch - self.mean) / self.std)


def _transform(batch: Tensor, view: View) -> Tensor:
    """Transform a batch (N, 3, H, W) as `View.of` transforms images."""
    mirrored = [side for side, flip in zip((2, 3), view.mirrored, strict=True) if flip]
    if mirrored:
        batch = batch.flip(mirrored)
    if view.offset == (0, 0):
        return batch
    border = max(map(abs, view.offset))
    padded = F.pad(batch, (border, border, border, border), mode="reflect")
    top, left = (border - pixels for pixels in view.offset)
    return padded[..., top : top + batch.shape[2], left : left + batch.shape[3]]


def interpolation_weights(size: int, image_size: int, *, interpolation: str) -> Tensor:
    """Compute the weights of `interpolated` along one side of an image.

    ONNX has no such operator with PyTorch's weights. But the interpolation is linear and treats
    one side after the other, so it equals W @ image @ W.T.

    Returns:
        W, float32 (image_size, size): the weight of each old pixel in each new one.
    """
    sides = torch.eye(size).view(1, 1, size, size)
    weights = interpolated(sides, (image_size, size), interpolation=interpolation)
    return weights.view(image_size, size)
