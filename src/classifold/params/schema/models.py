"""Section `models`: networks and how each is trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from classifold.params.schema.arguments import NETWORKS, arguments_schema
from classifold.params.schema.optimizers import Adadelta, Adam, RmsProp, Sgd
from classifold.params.schema.schedules import Constant, Cosine, Cyclical, OneCycle, Plateau
from classifold.params.schema.section import (
    Count,
    Name,
    NotNegative,
    Pixels,
    Positive,
    Probability,
    Section,
    Seed,
)


class Stop(Section):
    metric: Literal["accuracy", "micro_f1", "loss"] | None = None
    patience: Count | None = None


class Phase(Section):
    epochs: Count
    trainable: Literal["all", "head"] | Annotated[list[str], Field(min_length=1)]
    optimizer: Annotated[Adam | RmsProp | Adadelta | Sgd, Field(discriminator="name")]
    schedule: Annotated[
        Constant | Plateau | Cyclical | Cosine | OneCycle, Field(discriminator="name")
    ]
    stop: Stop | None = None

    @model_validator(mode="after")
    def _schedule_suits_the_optimizer(self) -> Self:
        schedule, optimizer = self.schedule, self.optimizer
        if isinstance(schedule, Cyclical) and schedule.min_lr >= optimizer.lr:
            raise ValueError(
                f"schedule.min_lr must be below optimizer.lr ({optimizer.lr:g}), the highest "
                f"rate of the cycle; got {schedule.min_lr:g}"
            )
        if isinstance(schedule, Cosine) and schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs must be below epochs ({self.epochs}), or the rate would "
                f"never fall; got {schedule.warmup_epochs:g}"
            )
        cycled = isinstance(optimizer, Adam) or getattr(optimizer, "momentum", None)
        for key in ("base_momentum", "max_momentum"):
            if getattr(schedule, key, None) is not None and not cycled:
                raise ValueError(
                    f"schedule.{key} needs an optimizer with momentum; {optimizer.name} has "
                    f"none here: give it one, such as momentum: 0.9, or leave {key} out"
                )
        return self


class CrossEntropy(Section):
    name: Literal["cross_entropy"]
    label_smoothing: Probability | None = None


class ByClass(Section):
    name: Literal["binary_cross_entropy", "mean_squared_error"]


class Focal(Section):
    name: Literal["focal"]
    gamma: NotNegative


class Model(Section):
    network: str
    arguments: dict[str, Any]
    image_size: Pixels
    train_size: Pixels | None = None
    normalize: Literal["imagenet", "half", "none"]
    online: str
    batch_size: Annotated[int, Field(ge=2)]
    seed: Seed
    loss: Annotated[CrossEntropy | ByClass | Focal, Field(discriminator="name")]
    class_weights: Literal["none", "balanced"] | None = None
    sampler: Literal["shuffle", "balanced"] | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    gradient_clip_norm: Positive | None = None
    gradient_accumulation_steps: Count | None = None
    phases: Annotated[dict[Name, Phase], Field(min_length=1)]

    @field_validator("network")
    @classmethod
    def _is_there(cls, network: str) -> str:
        names = sorted(path.stem for path in NETWORKS.glob("[a-z]*.py"))
        if network not in names:
            raise ValueError(f"must be one of {', '.join(names)}, got '{network}'")
        return network

    @field_validator("arguments")
    @classmethod
    def _network_takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "network" in info.data:  # else its own message says enough
            arguments_schema(info.data["network"]).model_validate(arguments)
        return arguments
