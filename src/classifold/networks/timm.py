"""Any network of timm by its name, with a new linear head.

timm is an optional dependency: `pip install timm`. Nothing is downloaded: published weights are
read from a file, such as the `model.safetensors` of https://huggingface.co/timm/resnet18.a1_in1k.
"""

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from classifold.errors import UserError
from classifold.models.weights_file import fill_network, find_weights, is_under


def build(
    n_classes: int,
    *,
    image_size: int,
    name: str,
    weights: Mapping[str, str] | None = None,
) -> nn.Module:
    """Build timm's network `name` without its head, and a head on its pooled features.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: such as `resnet18` or `vit_tiny_patch16_224`; `timm.list_models()` has them all.
        weights: a file of the network's weights (see `weights_file`); None starts from random
            weights. The head is always new; tensors that depend on the image's size, such as
            position embeddings, are interpolated if timm supports it; otherwise it is an error.

    Raises:
        UserError: if timm is not installed, has no such network or none with pooled features, or
            the weights cannot be read or are of another network.
    """
    timm = _timm()
    # Names with a colon or a slash would be searched on a hub or in a folder.
    if not set(name).isdisjoint(":/") or not timm.is_model(name):
        raise UserError(
            f"arguments.name: must be one of timm's networks, got '{name}'. See timm.list_models()."
        )
    published = timm.get_pretrained_cfg(name)
    sized = published is not None and published.fixed_input_size
    backbone = timm.create_model(
        name,
        pretrained=False,
        num_classes=0,
        img_size=(image_size, image_size) if sized else None,
    )
    with torch.inference_mode():
        features = backbone.eval()(torch.zeros(1, 3, image_size, image_size))
    if features.ndim != 2:
        raise UserError(
            "arguments.name: must be a network with one feature vector per image, got "
            f"'{name}' with features {tuple(features.shape)}. Choose a classifier."
        )
    if weights is not None:
        tensors = _as_built(timm, name, backbone, find_weights(weights, classifier=None))
        fill_network(backbone, tensors, weights=weights, unused=_other_heads(backbone))
    return TimmClassifier(backbone, n_features=features.shape[1], n_classes=n_classes)


class TimmClassifier(nn.Module):
    """A network of timm that computes features, and a linear head."""

    def __init__(self, backbone: nn.Module, *, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.backbone(images))


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise UserError(
            f"network: timm needs a package that is not installed, got {error.name}. Run "
            "'pip install timm', or choose another network."
        ) from None


def _as_built(timm: Any, name: str, backbone: nn.Module, tensors: dict[str, Tensor]) -> Any:
    """Convert published tensors to the names and sizes of `backbone`, as timm does."""
    family = sys.modules[timm.models.model_entrypoint(name).__module__]
    convert = getattr(family, "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        return convert(tensors, backbone)
    except Exception as error:  # each family has its own converter, which may raise anything
        raise UserError(
            f"arguments.weights: cannot be converted to {name} ({type(error).__name__}: {error}). "
            "Use weights of this network, or null for random weights."
        ) from None


def _other_heads(backbone: Any) -> list[str]:
    """The prefixes of the heads' names in published files."""
    named = backbone.pretrained_cfg.get("classifier") or ()
    kept = list(backbone.state_dict())
    return [_all_of(head, kept) for head in ([named] if isinstance(named, str) else named)]


def _all_of(head: str, kept: list[str]) -> str:
    """Such as `head` for `head.linear`, which includes a norm, unless `kept` has parts of it."""
    parent = head.rpartition(".")[0]
    if not parent or any(is_under(name, [parent]) for name in kept):
        return head
    return _all_of(parent, kept)
