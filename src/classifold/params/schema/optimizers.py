"""Optimizers of a phase."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import NotNegative, Positive, Probability, Section


class Optimizer(Section):
    """What all optimizers take; their own keys are torch's arguments."""

    lr: Positive
    weight_decay: NotNegative | None = None
    weight_decay_on_norm: bool | None = None
    lr_factors: dict[str, Positive] | None = None


class Adam(Optimizer):
    name: Literal["adam", "adamw"]
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None
    eps: Positive | None = None
    amsgrad: bool | None = None


class RmsProp(Optimizer):
    name: Literal["rmsprop"]
    alpha: Probability | None = None
    eps: Positive | None = None
    momentum: Probability | None = None
    centered: bool | None = None


class Adadelta(Optimizer):
    name: Literal["adadelta"]
    rho: Probability | None = None
    eps: Positive | None = None


class Sgd(Optimizer):
    name: Literal["sgd"]
    momentum: Probability | None = None
    nesterov: bool | None = None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0, such as 0.9")
        return self
