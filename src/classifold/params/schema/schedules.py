"""Learning-rate schedules of a training phase."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from classifold.params.schema.section import BelowOne, Count, Section


class Constant(Section):
    """A constant rate."""

    name: Literal["constant"]


class Plateau(Section):
    """Reduction when the validation loss stops improving."""

    name: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: Annotated[int, Field(ge=0)]


class Cyclical(Section):
    """Triangular cycles between two rates."""

    name: Literal["cyclical"]
    min_lr: PositiveFloat
    step_size: Count


class Cosine(Section):
    """Linear warm-up, then cosine annealing."""

    name: Literal["cosine"]
    warmup_epochs: NonNegativeFloat


# PyTorch's defaults.
BASE_MOMENTUM, MAX_MOMENTUM = 0.85, 0.95


class OneCycle(Section):
    """One cycle."""

    name: Literal["one_cycle"]
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    div_factor: PositiveFloat
    final_div_factor: PositiveFloat
    base_momentum: BelowOne | None = None
    max_momentum: BelowOne | None = None
    anneal_strategy: Literal["cos", "linear"] | None = None
    three_phase: bool | None = None

    @model_validator(mode="after")
    def _check_momentum(self) -> Self:
        base = BASE_MOMENTUM if self.base_momentum is None else self.base_momentum
        maximum = MAX_MOMENTUM if self.max_momentum is None else self.max_momentum
        if base > maximum:
            raise ValueError(
                f"base_momentum (default {BASE_MOMENTUM:g}) must be <= max_momentum (default "
                f"{MAX_MOMENTUM:g}), got {base:g} and {maximum:g}"
            )
        return self
