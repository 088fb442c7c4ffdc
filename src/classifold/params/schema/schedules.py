"""Learning-rate schedules of a phase."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import Count, NotNegative, Positive, Probability, Section


class Constant(Section):
    name: Literal["constant"]


class Plateau(Section):
    name: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: Annotated[int, Field(ge=0)]


class Cyclical(Section):
    name: Literal["cyclical"]
    min_lr: Positive
    step_size: Count


class Cosine(Section):
    name: Literal["cosine"]
    warmup_epochs: NotNegative


# What torch takes for the limits of momentum where they are not given.
BASE_MOMENTUM, MAX_MOMENTUM = 0.85, 0.95


class OneCycle(Section):
    name: Literal["one_cycle"]
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    div_factor: Positive
    final_div_factor: Positive
    base_momentum: Probability | None = None
    max_momentum: Probability | None = None
    anneal_strategy: Literal["cos", "linear"] | None = None
    three_phase: bool | None = None

    @model_validator(mode="after")
    def _momentum_has_a_range(self) -> Self:
        base = BASE_MOMENTUM if self.base_momentum is None else self.base_momentum
        highest = MAX_MOMENTUM if self.max_momentum is None else self.max_momentum
        if base > highest:
            raise ValueError(
                f"base_momentum ({base:g}) must not be above max_momentum ({highest:g}); they are "
                f"{BASE_MOMENTUM:g} and {MAX_MOMENTUM:g} where they are not given"
            )
        return self
