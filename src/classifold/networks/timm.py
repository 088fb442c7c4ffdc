"""Any network of timm by its name, with a new linear head."""

import sys
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from classifold.errors import SettingError
from classifold.models.filling import fill_network, is_under, renamed_in_order
from classifold.models.publishers import Timm
from classifold.models.weights import Weights, find_weights

# In files of other libraries.
OTHER_NAMES_OF_HEADS = ["_fc"]


def build(
    n_classes: int,
    *,
    image_size: int,
    name: str,
    weights: str | Mapping[str, str] | None = None,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """Build timm's network `name` without its head, and a head on its pooled features.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: such as `resnet18` or `vit_tiny_patch16_224`; `timm.list_models()` has them all.
        weights: see `models/weights.py`; None starts from random weights. The head is always new;
            tensors that depend on the image's size, such as position embeddings, are interpolated
            if timm supports it; otherwise it is an error.
        dropout: probability, before the head.
        drop_path: highest probability with which a residual block is skipped in training
            (stochastic depth, Huang et al. 2016), for networks that have it.

    Raises:
        UserError: if timm has no such network or none with pooled features or drop_path, or the
            weights cannot be read or are of another network.
    """
    published = publisher(name=name).config()
    sized = published is not None and published.fixed_input_size
    # Only arguments that differ from timm's defaults: not all networks accept all of them.
    options: dict[str, Any] = {"img_size": (image_size, image_size)} if sized else {}
    if drop_path:
        options["drop_path_rate"] = drop_path
    backbone = timm.create_model(name, pretrained=False, num_classes=0, **options)
    with torch.inference_mode():
        features = backbone.eval()(torch.zeros(1, 3, image_size, image_size))
    if features.ndim != 2:
        raise SettingError(
            "arguments.name: must be a network with one feature vector per image, got "
            f"'{name}' with features {tuple(features.shape)}. Choose a classifier."
        )
    network = TimmClassifier(
        backbone, n_features=features.shape[1], n_classes=n_classes, dropout=dropout
    )
    if weights is not None:
        found = find_weights(weights, publisher=publisher(name=name), name=name)
        fill_network(
            backbone,
            _as_built(name, backbone, found),
            source=found.source,
            unused=_other_heads(backbone),
        )
        network.weights = found.record
    return network


def publisher(*, name: str, **_: Any) -> Timm:
    """Return who publishes weights of the network.

    Raises:
        UserError: if there is no such network.
    """
    # Names with a colon or a slash would be searched on a hub or in a folder.
    if not set(name).isdisjoint(":/") or not timm.is_model(name):
        raise SettingError(
            f"arguments.name: must be one of timm's networks, got '{name}'. See timm.list_models()."
        )
    return Timm(name)


class TimmClassifier(nn.Module):
    """A network of timm that computes features, and a linear head."""

    weights: dict[str, Any] | None = None

    def __init__(
        self, backbone: nn.Module, *, n_features: int, n_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.head(self.dropout(self.backbone(images)))


def _as_built(name: str, backbone: nn.Module, weights: Weights) -> Any:
    """Convert published tensors to the names and sizes of `backbone`, as timm does."""
    if weights.in_order:
        return renamed_in_order(weights.tensors, backbone.state_dict())
    family = sys.modules[timm.models.model_entrypoint(name).__module__]
    convert = getattr(family, "checkpoint_filter_fn", None)
    if convert is None:
        return weights.tensors
    try:
        return convert(weights.tensors, backbone)
    except Exception as error:  # each family has its own converter, which may raise anything
        raise SettingError(
            f"arguments.weights: cannot be converted to {name} ({type(error).__name__}: {error}). "
            "Use weights of this network, or null for random weights."
        ) from None


def _other_heads(backbone: Any) -> list[str]:
    """The prefixes of the heads' names in published files."""
    named = backbone.pretrained_cfg.get("classifier") or ()
    kept = list(backbone.state_dict())
    heads = [_all_of(head, kept) for head in ([named] if isinstance(named, str) else named)]
    return [*heads, *OTHER_NAMES_OF_HEADS]


def _all_of(head: str, kept: list[str]) -> str:
    """Such as `head` for `head.linear`, which includes a norm, unless `kept` has parts of it."""
    parent = head.rpartition(".")[0]
    if not parent or any(is_under(name, [parent]) for name in kept):
        return head
    return _all_of(parent, kept)
