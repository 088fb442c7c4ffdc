"""How a network is trained."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from classifold.models.model_file import pretrained_input
from classifold.models.preprocessing import Normalize

# Libraries prepare the kernels of each size once, so sizes are few.
SIZE_STEP = 8

HEAD = "head"  # name of the only phase of a probe, under which its results are reported


class TrainingConfig(NamedTuple):
    """How a network is trained: the keys of a model in params, except those that build it."""

    seed: int  # seed of order, dropout and online augmentation
    image_size: int
    normalize: Normalize
    loss: Mapping[str, Any]  # name and settings
    # Name -> epochs, trainable, optimizer, schedule, stop.
    phases: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    batch_size: int = 1  # max images per step, over all micro-batches and processes
    head: Mapping[str, Any] | None = None  # head of a probe, which has no phases: name and c or k
    class_weights: str = "none"  # or `balanced`
    sampler: str = "shuffle"  # or `balanced`
    ema_decay: float | None = None  # decay of the moving average of weights, per step
    gradient_clip_norm: float | None = None  # maximum norm of the gradient
    gradient_accumulation_steps: int = 1  # micro-batches per step, split between processes
    # Size of training images, if not `image_size`: pixels, or those of the first and last epoch.
    train_size: int | Sequence[int] | None = None

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "TrainingConfig":
        """Read the config from a model of params, see `with_defaults`; null means the default.

        Raises:
            UserError: if `normalize` is `pretrained` and the network has no published weights.
        """
        settings = {k: v for k, v in _without_nulls(model).items() if k in cls._fields}
        if model["normalize"] == "pretrained":
            settings["normalize"] = pretrained_input(model["network"], model["arguments"]).normalize
        return cls(**settings)

    def training_sizes(self) -> tuple[int, int]:
        """Return width and height of training images in the first and last epoch, in pixels."""
        sizes = self.train_size or self.image_size
        first, last = [sizes, sizes] if isinstance(sizes, int) else sizes
        return first, last

    def training_size(self, epoch: int) -> int:
        """Return the width and height of training images, in pixels.

        From the first to the last epoch it grows linearly, in steps of about `SIZE_STEP` pixels.

        Args:
            epoch: counted from 1 over all phases.
        """
        first, last = self.training_sizes()
        n_epochs = sum(phase["epochs"] for phase in self.phases.values())
        n_steps = max(round((last - first) / SIZE_STEP), 1)
        step = round(n_steps * (epoch - 1) / max(n_epochs - 1, 1))
        return first + round((last - first) * step / n_steps)

    def at_middle_size(self) -> "TrainingConfig":
        """Replace sizes that grow by the one of the middle epoch, to measure with a few steps."""
        n_epochs = sum(phase["epochs"] for phase in self.phases.values())
        return self._replace(train_size=self.training_size((n_epochs + 1) // 2))

    def candidates(self) -> tuple[str, list[Any]]:
        """Return the key of a probe's head, `c` or `k`, and its values in ascending order."""
        head = self.head or {}
        key = "c" if head["name"] == "logistic" else "k"
        return key, sorted(head[key]) if isinstance(head[key], list) else [head[key]]

    def as_trained(self, phases: Mapping[str, Mapping[str, Any]]) -> "TrainingConfig":
        """Replace the values among which the training of a probe chose by the chosen one.

        Args:
            phases: metrics of the training, by phase.
        """
        if self.head is None:
            return self
        key, _ = self.candidates()
        return self._replace(head={**self.head, key: phases[HEAD][key]})


def _without_nulls(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without nulls, at any depth."""
    return {
        name: _without_nulls(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None
    }
