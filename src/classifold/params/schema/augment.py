"""Section `augment`: offline augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import (
    Degrees,
    Fill,
    Pixels,
    Range,
    Section,
    Seed,
    ShiftFractions,
    Slant,
)


class Augment(Section):
    size: Pixels
    resize: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
    flips: Annotated[list[Literal["none", "horizontal", "vertical", "both"]], Field(min_length=1)]
    warped: Annotated[int, Field(ge=0, le=100)]
    rotate: Degrees
    scale: Range
    shear: Slant
    shift: ShiftFractions
    fill: Fill
    storage: Literal["raw", "jpeg"]
    seed: Seed

    @model_validator(mode="after")
    def _keeps_the_original(self) -> Self:
        if self.flips[0] != "none" or len(set(self.flips)) != len(self.flips):
            raise ValueError(
                f"flips must begin with 'none' (the original) and name each flip once, "
                f"got {self.flips}"
            )
        return self
