"""Section `stack`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator

from classifold.params.schema.section import BelowOne, Count, Section, Seed

# Each fold trains all models once more.
MAX_FOLDS = 20


class Stack(Section):
    """Section `stack`."""

    members: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    method: Literal["dense", "logistic", "weighted", "greedy", "mean"]
    folds: Annotated[int, Field(ge=0, le=MAX_FOLDS)]
    inner_folds: Annotated[int, Field(ge=2)]
    dense: "Dense"
    logistic: "Logistic"
    greedy: "Greedy"
    seed: Seed

    @field_validator("folds")
    @classmethod
    def _check_folds(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError(f"must be 0 (none) or 2 to {MAX_FOLDS}, got 1")
        return folds


class Dense(Section):
    """A small neural network on the logits of the members."""

    hidden: list[Annotated[int, Field(ge=1, le=65_536)]]
    dropout: BelowOne
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    epochs: Count
    patience: Count


class Logistic(Section):
    """Logistic regression on the logits of the members."""

    c: PositiveFloat


class Greedy(Section):
    """Greedy ensemble selection."""

    rounds: Annotated[int, Field(ge=1, le=100_000)]
