"""Any classifier of torchvision by its name, with a new head.

`resnet18` with random weights is BravoNet of report 000, section 5.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from classifold.errors import SettingError, describe_choices
from classifold.models.filling import fill_network
from classifold.models.publishers import Torchvision
from classifold.models.weights import find_weights

# Builders that need the image's size, and the name of their argument.
SIZE_ARGUMENT = {"vit": "image_size", "maxvit": "input_size"}

# Names of layers in published files that are older than torchvision's current ones.
RENAMED = [
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)"), r"\1"),
    (re.compile(r"(?<=mlp\.)linear_1\."), "0."),
    (re.compile(r"(?<=mlp\.)linear_2\."), "3."),
]

# Auxiliary heads, used only in the training of the published weights.
AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")


def build(
    n_classes: int,
    *,
    image_size: int,
    name: str,
    weights: str | Mapping[str, str] | None = None,
) -> nn.Module:
    """Build torchvision's classifier `name`.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: such as `resnet18`; `torchvision.models.list_models()` lists all.
        weights: see `models/weights.py`; None starts from random weights. The head is always new;
            a vision transformer's position embedding is interpolated to the image's size.

    Raises:
        UserError: if there is no such classifier or weights, they cannot be downloaded or read,
            or are of another network.
    """
    published = publisher(name=name)
    sized: dict[str, Any] = {
        argument: (image_size, image_size) if argument == "input_size" else image_size
        for family, argument in SIZE_ARGUMENT.items()
        if name.startswith(family)
    }
    if name in ("googlenet", "inception_v3"):
        # Without auxiliary heads the output is one tensor of logits in training, too. Their
        # published weights need `half`; with transform_input they need `imagenet`, as others do.
        sized |= {"aux_logits": False, "init_weights": True, "transform_input": True}
    backbone = torchvision.models.get_model(name, weights=None, num_classes=n_classes, **sized)
    network = TorchvisionClassifier(backbone)
    if weights is not None:
        found = find_weights(weights, publisher=published)
        fill_network(
            backbone,
            _as_built(backbone, found.tensors),
            source=found.source,
            new=[_head_name(backbone)],
            unused=AUXILIARY_HEADS,
        )
        network.weights = found.record
    return network


def publisher(*, name: str, **_: Any) -> Torchvision:
    """Return who publishes weights of the network.

    Raises:
        UserError: if there is no such classifier.
    """
    models = torchvision.models
    known = models.list_models(module=models)
    if name not in known:
        listed_by = "torchvision.models.list_models(module=torchvision.models)"
        raise SettingError(
            f"arguments.name: must be one of torchvision's classifiers, got '{name}'. "
            f"{describe_choices(name, known, listed_by=listed_by)}"
        )
    return Torchvision(name)


class TorchvisionClassifier(nn.Module):
    """A classifier of torchvision whose last layer is named `head`, as in all networks."""

    weights: dict[str, Any] | None = None

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def head(self) -> nn.Module:
        """The last layer, with one output per class."""
        return self.backbone.get_submodule(_head_name(self.backbone))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.backbone(images)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load tensors without the metadata of a state dict."""
        # MNASNet requires the version of its layers, which safetensors files do not contain.
        versioned = OrderedDict(state_dict)
        versioned._metadata = self.state_dict()._metadata  # type: ignore[attr-defined]
        return super().load_state_dict(versioned, strict, assign)


def _head_name(backbone: nn.Module) -> str:
    """The name of the last layer."""
    kinds = (nn.Linear, nn.Conv2d)
    return [name for name, module in backbone.named_modules() if isinstance(module, kinds)][-1]


def _as_built(backbone: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors to the layers of `backbone`, and interpolate positions."""
    renamed = OrderedDict(tensors)
    for old, new in RENAMED:
        renamed = OrderedDict((old.sub(new, name), tensor) for name, tensor in renamed.items())
    positions = renamed.get("encoder.pos_embedding")
    if isinstance(backbone, VisionTransformer) and positions is not None:
        return interpolate_embeddings(backbone.image_size, backbone.patch_size, renamed)
    return renamed
