"""How a network is trained."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """How a network is trained: the keys of a model in params that are not about its making."""

    phases: Mapping[str, Mapping[str, Any]]  # name -> epochs, trainable, optimizer, schedule, stop
    batch_size: int  # the most images a step, over all pieces and processes
    seed: int  # of order, dropout and online augmentation
    image_size: int
    normalize: str
    loss: Mapping[str, Any]  # name and settings
    class_weights: str = "none"  # or `balanced`
    sampler: str = "shuffle"  # or `balanced`
    ema_decay: float | None = None  # decay of the moving average of weights, a step
    gradient_clip_norm: float | None = None  # largest norm of the gradient
    gradient_accumulation_steps: int = (
        1  # pieces of a step, which processes share and compute one after another
    )
    train_size: int | None = None  # of the images that are trained on, if not `image_size`

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "Recipe":
        """Take what there is to take of a model in params; a null is as good as nothing."""
        return cls(**{k: v for k, v in _without_nulls(model).items() if k in cls._fields})


def _without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, and those within them, that are given."""
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None
    }
