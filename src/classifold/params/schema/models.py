"""Section `models`: networks and how they are trained."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from classifold.params.schema.arguments import NETWORKS, arguments_schema
from classifold.params.schema.optimizers import Adadelta, Adam, RmsProp, Sgd
from classifold.params.schema.schedules import Constant, Cosine, Cyclical, OneCycle, Plateau
from classifold.params.schema.section import (
    BelowOne,
    Count,
    Name,
    Pixels,
    PixelsRange,
    Section,
    Seed,
    require_no_errors,
)


class Stop(Section):
    """Early stopping."""

    metric: Literal["accuracy", "micro_f1", "loss"] | None = None
    patience: Count | None = None


class Phase(Section):
    """One phase of a training run."""

    epochs: Count
    trainable: Literal["all", "head"] | Annotated[list[str], Field(min_length=1)]
    freeze_batch_norm: bool | None = None
    optimizer: Annotated[Adam | RmsProp | Adadelta | Sgd, Field(discriminator="name")]
    schedule: Annotated[
        Constant | Plateau | Cyclical | Cosine | OneCycle, Field(discriminator="name")
    ]
    stop: Stop | None = None

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        schedule, optimizer = self.schedule, self.optimizer
        errors = []
        if isinstance(schedule, Cyclical) and schedule.min_lr >= optimizer.lr:
            errors.append(
                f"schedule.min_lr: must be < optimizer.lr ({optimizer.lr:g}), the maximum of the "
                f"cycle, got {schedule.min_lr:g}"
            )
        if isinstance(schedule, Cosine) and schedule.warmup_epochs >= self.epochs:
            errors.append(
                f"schedule.warmup_epochs: must be < epochs ({self.epochs}), got "
                f"{schedule.warmup_epochs:g}"
            )
        has_momentum = isinstance(optimizer, Adam) or getattr(optimizer, "momentum", None)
        errors += [
            f"schedule.{key}: needs an optimizer with momentum, and {optimizer.name} has none "
            f"here. Set optimizer.momentum, such as 0.9, or remove {key}"
            for key in ("base_momentum", "max_momentum")
            if getattr(schedule, key, None) is not None and not has_momentum
        ]
        require_no_errors(errors)
        return self


class CrossEntropy(Section):
    """Cross-entropy, with optional label smoothing."""

    name: Literal["cross_entropy"]
    label_smoothing: BelowOne | None = None


class PerClass(Section):
    """Losses that treat each class separately."""

    name: Literal["binary_cross_entropy", "mean_squared_error"]


class Focal(Section):
    """Focal loss."""

    name: Literal["focal"]
    gamma: NonNegativeFloat


class _Head(Section):
    """The head of a probe; of several values the one with the best score is kept."""

    # By default on validation images.
    choose_by: Literal["validation", "cross_validation"] | None = None


class Logistic(_Head):
    """Logistic regression."""

    name: Literal["logistic"]
    c: PositiveFloat | Annotated[list[PositiveFloat], Field(min_length=1)]


class Neighbors(_Head):
    """Nearest neighbors."""

    name: Literal["neighbors"]
    k: Count | Annotated[list[Count], Field(min_length=1)]


# Each seed is a training run, and a copy of the weights.
MAX_SEEDS = 100


class _AnyModel(Section):
    """What every model has: its network and images."""

    network: str
    arguments: dict[str, Any]
    image_size: Pixels | None = None  # augment.size
    normalize: Literal["imagenet", "half", "none", "pretrained"]
    online: str
    seed: Seed
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] | None = None  # 1

    @field_validator("network")
    @classmethod
    def _check_network(cls, network: str) -> str:
        names = sorted(path.stem for path in NETWORKS.glob("[a-z]*.py"))
        if network not in names:
            raise ValueError(f"must be one of {', '.join(names)}, got '{network}'")
        return network

    @field_validator("arguments")
    @classmethod
    def _check_arguments(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "network" in info.data:  # otherwise the error is in `network`
            arguments_schema(info.data["network"]).model_validate(arguments)
        return arguments


class Probe(_AnyModel):
    """A model that is not trained by epochs: a head on the features of a frozen body."""

    head: Annotated[Logistic | Neighbors, Field(discriminator="name")]

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds not in (None, 1):
            rule = f"must be 1 for network {self.network}, whose head is fitted once"
            require_no_errors([f"seeds: {rule}, got {self.seeds}. Remove it"])
        return self


class TrainedModel(_AnyModel):
    """A model with phases of training."""

    train_size: Pixels | PixelsRange | None = None
    batch_size: Annotated[int, Field(ge=2)]
    # By dataset.task: cross_entropy or binary_cross_entropy.
    loss: Annotated[CrossEntropy | PerClass | Focal, Field(discriminator="name")] | None = None
    class_weights: Literal["none", "balanced"] | None = None
    sampler: Literal["shuffle", "balanced"] | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    gradient_clip_norm: PositiveFloat | None = None
    gradient_accumulation_steps: Count | None = None
    phases: Annotated[dict[Name, Phase], Field(min_length=1)]


WITHOUT_EPOCHS = ("fisher_vectors", "probe")  # those of data/model_settings.py


def _kind(model: Any) -> str:
    """The tag of a model's schema; messages omit it, since it is no key."""
    is_probe = isinstance(model, Mapping) and model.get("network") in WITHOUT_EPOCHS
    return "a probe" if is_probe else "a model with phases"


Model = Annotated[
    Annotated[Probe, Tag("a probe")] | Annotated[TrainedModel, Tag("a model with phases")],
    Discriminator(_kind),
]
