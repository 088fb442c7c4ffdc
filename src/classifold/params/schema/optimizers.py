"""Optimizers of a training phase."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from classifold.params.schema.section import BelowOne, Section


class Optimizer(Section):
    """Keys that all optimizers have; the others are arguments of PyTorch's classes."""

    lr: PositiveFloat
    weight_decay: NonNegativeFloat | None = None
    weight_decay_on_norm: bool | None = None
    lr_factors: dict[str, PositiveFloat] | None = None
    lr_decay_per_layer: Annotated[float, Field(gt=0, le=1)] | None = None


class Adam(Optimizer):
    """Adam and AdamW."""

    name: Literal["adam", "adamw"]
    betas: Annotated[list[BelowOne], Field(min_length=2, max_length=2)] | None = None
    eps: PositiveFloat | None = None
    amsgrad: bool | None = None


class RmsProp(Optimizer):
    """RMSprop."""

    name: Literal["rmsprop"]
    alpha: BelowOne | None = None
    eps: PositiveFloat | None = None
    momentum: BelowOne | None = None
    centered: bool | None = None


class Adadelta(Optimizer):
    """Adadelta."""

    name: Literal["adadelta"]
    rho: BelowOne | None = None
    eps: PositiveFloat | None = None


class Sgd(Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"]
    momentum: BelowOne | None = None
    nesterov: bool | None = None

    @model_validator(mode="after")
    def _check_nesterov(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs momentum > 0, such as 0.9")
        return self
