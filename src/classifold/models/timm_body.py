"""Networks of timm without their heads, filled with pretrained weights."""

import difflib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import nn

from classifold.errors import SettingError
from classifold.models.filling import fill_network, is_under, renamed_in_order
from classifold.models.publishers import Timm
from classifold.models.weights import Weights, find_weights

# In files of other libraries.
OTHER_NAMES_OF_HEADS = ["_fc"]


class TimmBody(NamedTuple):
    """A network that computes a feature vector of each image."""

    network: nn.Module
    n_features: int
    weights: dict[str, Any] | None  # what `model.json` records of pretrained weights


def build_body(
    name: str,
    *,
    image_size: int,
    weights: str | Mapping[str, str] | None = None,
    drop_path: float = 0.0,
) -> TimmBody:
    """Build timm's network `name` without its head.

    Args:
        name: name of the network, such as `resnet18`; `timm.list_models()` has them all.
        image_size: width and height of images in pixels.
        weights: see `models/weights.py`; None starts from random weights. Tensors that depend on
            the image's size, such as position embeddings, are interpolated if timm supports it;
            otherwise it is an error.
        drop_path: highest probability with which a residual block is skipped in training
            (stochastic depth, Huang et al. 2016), for networks that have it.

    Raises:
        UserError: if timm has no such network or none with pooled features or drop_path, or the
            weights cannot be read or are of another network.
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
    return TimmBody(network, features.shape[1], record)


def timm_publisher(name: str) -> Timm:
    """Return the publisher of weights of timm's network `name`.

    Raises:
        UserError: if there is no such network.
    """
    # Names with a colon or a slash would be searched on a hub or in a folder.
    if not set(name).isdisjoint(":/") or not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"Did you mean '{close[0]}'? " if close else ""
        raise SettingError(
            f"arguments.name: must be one of timm's networks, got '{name}'. {hint}See "
            "timm.list_models()."
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
