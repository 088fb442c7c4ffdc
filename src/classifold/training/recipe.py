"""How a network is trained."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from classifold.models.model_file import pretrained_input
from classifold.models.preprocessing import Normalize


class Recipe(NamedTuple):
    """How a network is trained: the keys of a model in params, except those that build it."""

    phases: Mapping[str, Mapping[str, Any]]  # name -> epochs, trainable, optimizer, schedule, stop
    batch_size: int  # max images per step, over all micro-batches and processes
    seed: int  # seed of order, dropout and online augmentation
    image_size: int
    normalize: Normalize
    loss: Mapping[str, Any]  # name and settings
    class_weights: str = "none"  # or `balanced`
    sampler: str = "shuffle"  # or `balanced`
    ema_decay: float | None = None  # decay of the moving average of weights, per step
    gradient_clip_norm: float | None = None  # maximum norm of the gradient
    gradient_accumulation_steps: int = 1  # micro-batches per step, split between processes
    train_size: int | None = None  # size of training images, if not `image_size`

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "Recipe":
        """Read the recipe from a model of params, see `with_defaults`; null means the default.

        Raises:
            UserError: if `normalize` is `pretrained` and the network has no published weights.
        """
        settings = {k: v for k, v in _without_nulls(model).items() if k in cls._fields}
        if model["normalize"] == "pretrained":
            settings["normalize"] = pretrained_input(model["network"], model["arguments"]).normalize
        return cls(**settings)


def _without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without nulls, at any depth."""
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None
    }
