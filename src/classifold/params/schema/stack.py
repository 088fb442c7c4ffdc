"""Section `stack`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from classifold.params.schema.section import (
    Count,
    NotNegative,
    Positive,
    Probability,
    Section,
    Seed,
)

# Each trains every model once more.
MOST_FOLDS = 20


class Stack(Section):
    members: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    method: Literal["dense", "logistic", "weighted", "greedy", "mean"]
    folds: Annotated[int, Field(ge=0, le=MOST_FOLDS)]
    inner_folds: Annotated[int, Field(ge=2)]
    dense: "Dense"
    logistic: "Logistic"
    greedy: "Greedy"
    seed: Seed

    @field_validator("folds")
    @classmethod
    def _is_none_or_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError(f"must be 0 (none) or from 2 to {MOST_FOLDS}, got 1")
        return folds


class Dense(Section):
    hidden: list[Annotated[int, Field(ge=1, le=65_536)]]
    dropout: Probability
    lr: Positive
    weight_decay: NotNegative
    epochs: Count
    patience: Count


class Logistic(Section):
    c: Positive


class Greedy(Section):
    rounds: Annotated[int, Field(ge=1, le=100_000)]
