"""Any classifier of torchvision by its name, with a head of our own size."""

from typing import Any
from urllib.error import URLError

import torchvision
from torch import Tensor, nn

from classifold.errors import UserError

# Builders that take the image's size, and by which name.
SIZE_ARGUMENT = {"vit": "image_size", "maxvit": "input_size"}


def build(n_classes: int, *, image_size: int, name: str, weights: str | None = None) -> nn.Module:
    """Build torchvision's classifier `name`.

    Args:
        n_classes: number of logits.
        image_size: width and height of images in pixels.
        name: such as `resnet18`; `torchvision.models.list_models()` has them all.
        weights: torchvision's name of published weights (`DEFAULT`, `IMAGENET1K_V1`), which it
            downloads to TORCH_HOME; None starts from random weights. The head is always new.

    Raises:
        UserError: if there is no such classifier or weights, or they cannot be downloaded.
    """
    models = torchvision.models
    if name not in models.list_models(module=models):
        raise UserError(
            f"arguments.name must be one of torchvision's classifiers, got '{name}'; see "
            "torchvision.models.list_models(module=torchvision.models)"
        )
    sized: dict[str, Any] = {
        argument: (image_size, image_size) if argument == "input_size" else image_size
        for family, argument in SIZE_ARGUMENT.items()
        if name.startswith(family)
    }
    if name in ("googlenet", "inception_v3"):
        # Without the side heads: one tensor of logits comes out in training too.
        sized |= {"aux_logits": False, "init_weights": True}
    backbone = models.get_model(name, weights=None, num_classes=n_classes, **sized)
    if weights is not None:
        _load(backbone, name=name, weights=weights)
    return TorchvisionClassifier(backbone)


class TorchvisionClassifier(nn.Module):
    """A classifier of torchvision whose last layer is called `head`, as in all networks."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def head(self) -> nn.Module:
        """The last layer with one output a class."""
        return self.backbone.get_submodule(_head_name(self.backbone))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> logits (N, n_classes)."""
        return self.backbone(images)


def _head_name(backbone: nn.Module) -> str:
    """The name of the last layer."""
    kinds = (nn.Linear, nn.Conv2d)
    return [name for name, module in backbone.named_modules() if isinstance(module, kinds)][-1]


def _load(backbone: nn.Module, *, name: str, weights: str) -> None:
    """Copy published weights into every layer but the head."""
    known = torchvision.models.get_model_weights(name).__members__
    if weights not in known and weights != "DEFAULT":
        raise UserError(
            f"arguments.weights must be null or one of {', '.join(known)} for {name}, "
            f"got '{weights}'"
        )
    published = torchvision.models.get_model_weights(name)[weights]
    try:
        # weights_only: no pickled code is run; check_hash: the file is the published one.
        state = published.get_state_dict(check_hash=True, weights_only=True)
    except URLError as error:
        raise UserError(
            f"the weights {weights} of {name} could not be downloaded ({error.reason}); "
            f"fetch {published.url} on another machine and put it into "
            "$TORCH_HOME/hub/checkpoints, or set weights to null"
        ) from None
    own = backbone.state_dict()
    head = _head_name(backbone) + "."
    fitting = {
        key: value
        for key, value in state.items()
        if key in own and own[key].shape == value.shape and not key.startswith(head)
    }
    backbone.load_state_dict(fitting, strict=False)
