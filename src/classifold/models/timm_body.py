"""Networks of timm without their heads, filled with pretrained weights."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from classifold.errors import SettingError, describe_choices
from classifold.models.filling import fill_network, is_under, renamed_in_order
from classifold.models.publishers import Timm
from classifold.models.weights import Weights, find_weights

# In files of other libraries.
OTHER_NAMES_OF_HEADS = ["_fc"]


class TimmBody(NamedTuple):
    """A network that computes a feature vector of each image."""

    network: nn.Module
    layers: tuple[str, ...]  # whose outputs are features, too
    n_features: int
    weights: dict[str, Any] | None  # what `model.json` records of pretrained weights


class OnTimmBody(nn.Module):
    """Base class of networks with a body of timm."""

    def __init__(self, body: TimmBody) -> None:
        super().__init__()
        self.backbone, self.weights, self.layers = body.network, body.weights, body.layers

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> features (N, n_features)."""
        if not self.layers:
            return self.backbone(images)
        return _features(self.backbone, images, self.layers)

    def extra_repr(self) -> str:
        """State the layers, on which files of features depend."""
        return f"layers={self.layers}" if self.layers else ""


def build_body(
    name: str,
    *,
    image_size: int,
    weights: str | Mapping[str, str] | None = None,
    layers: Sequence[str] = (),
    drop_path: float = 0.0,
) -> TimmBody:
    """Build timm's network `name` without its head.

    Args:
        name: name of the network, such as `resnet18`; `timm.list_models()` has them all.
        image_size: width and height of images in pixels.
        weights: see `models/weights.py`; None starts from random weights. Tensors that depend on
            the image's size, such as position embeddings, are interpolated if timm supports it;
            otherwise it is an error.
        layers: names of inner layers, such as `blocks.5`. Their outputs, averaged over the image,
            are features beside the pooled output of the network (Evci et al. 2022,
            arXiv:2201.03529).
        drop_path: highest probability with which a residual block is skipped in training
            (stochastic depth, Huang et al. 2016), for networks that have it.

    Raises:
        UserError: if timm has no such network or none with pooled features or drop_path, it has no
            such layers or they return no maps or tokens, or the weights cannot be read or are of
            another network.
    """
    publisher = timm_publisher(name)
    published = publisher.config()
    sized = published is not None and published.fixed_input_size
    # Only arguments that differ from timm's defaults: not all networks accept all of them.
    options: dict[str, Any] = {"img_size": (image_size, image_size)} if sized else {}
    if drop_path:
        options["drop_path_rate"] = drop_path
    network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    with torch.inference_mode():
        features = network.eval()(torch.zeros(1, 3, image_size, image_size))
    if features.ndim != 2:
        raise SettingError(
            "arguments.name: must be a network with one feature vector per image, got "
            f"'{name}' with features {tuple(features.shape)}. Choose a classifier."
        )
    _check_layers(network, layers)
    with torch.inference_mode():
        features = _features(network, torch.zeros(1, 3, image_size, image_size), layers)
    record = None
    if weights is not None:
        found = find_weights(weights, publisher=publisher, name=name)
        fill_network(
            network,
            _as_built(name, network, found),
            source=found.source,
            unused=_other_heads(network),
        )
        record = found.record
    return TimmBody(network, tuple(layers), features.shape[1], record)


def _features(network: nn.Module, images: Tensor, layers: Sequence[str]) -> Tensor:
    """Compute the pooled output of a network, and the outputs of layers averaged over the image."""
    outputs: dict[str, Tensor] = {}

    def hook(name: str) -> torch.utils.hooks.RemovableHandle:
        layer = network.get_submodule(name)
        return layer.register_forward_hook(lambda _, __, found: outputs.update({name: found}))

    hooks = [hook(name) for name in layers]
    try:
        pooled = network(images)
    finally:
        for each in hooks:
            each.remove()
    last = getattr(network, "output_fmt", None) == "NHWC"  # whether channels are the last axis
    return torch.cat([pooled, *(_average(name, outputs[name], last) for name in layers)], dim=1)


def _average(name: str, output: Any, channels_last: bool) -> Tensor:
    """Average maps (N, C, H, W), or (N, H, W, C), or tokens (N, n_tokens, C) over the image."""
    if isinstance(output, Tensor) and output.ndim == 4:
        return output.mean((1, 2) if channels_last else (2, 3))
    if isinstance(output, Tensor) and output.ndim == 3:
        return output.mean(1)
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise SettingError(
        f"arguments.layers: must return maps or tokens, got '{name}', which returns {shape}. "
        "Choose a block."
    )


def _check_layers(network: nn.Module, layers: Sequence[str]) -> None:
    """Raise a UserError if a network has no layer of a name."""
    known = [name for name, _ in network.named_modules() if name]
    if unknown := [name for name in layers if name not in known]:
        choice = ", ".join(name for name in known if name.count(".") < 2)
        raise SettingError(
            f"arguments.layers: must name layers of the network, got '{unknown[0]}'. Choose from "
            f"{choice}."
        )


def timm_publisher(name: str) -> Timm:
    """Return the publisher of weights of timm's network `name`.

    Raises:
        UserError: if there is no such network.
    """
    # Names with a colon or a slash would be searched on a hub or in a folder.
    if not set(name).isdisjoint(":/") or not timm.is_model(name):
        choices = describe_choices(name, timm.list_models(), listed_by="timm.list_models()")
        raise SettingError(
            f"arguments.name: must be one of timm's networks, got '{name}'. {choices}"
        )
    return Timm(name)


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
    """List the names of heads in published files, without the names of their tensors."""
    named = backbone.pretrained_cfg.get("classifier") or ()
    kept = list(backbone.state_dict())
    heads = [_all_of(head, kept) for head in ([named] if isinstance(named, str) else named)]
    return [*heads, *OTHER_NAMES_OF_HEADS]


def _all_of(head: str, kept: list[str]) -> str:
    """Name all of a head: `head` for `head.linear`, unless the network keeps parts of it.

    Such a head also has a norm, for example.
    """
    parent = head.rpartition(".")[0]
    if not parent or any(is_under(name, [parent]) for name in kept):
        return head
    return _all_of(parent, kept)
