"""Section `augment`: offline augmentation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from classifold.params.schema.section import (
    Fill,
    Pixels,
    PositiveRange,
    RotationDegrees,
    Section,
    Seed,
    ShearDegrees,
    ShiftFractions,
)


class Augment(Section):
    """Section `augment`."""

    size: Pixels
    resize: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
    flips: Annotated[list[Literal["none", "horizontal", "vertical", "both"]], Field(min_length=1)]
    warped: Annotated[int, Field(ge=0, le=100)]
    rotate: RotationDegrees
    scale: PositiveRange
    shear: ShearDegrees
    shift: ShiftFractions
    fill: Fill
    storage: Literal["raw", "jpeg"]
    seed: Seed

    @field_validator("flips")
    @classmethod
    def _check_flips(cls, flips: list[str]) -> list[str]:
        if flips[0] != "none" or len(set(flips)) != len(flips):
            raise ValueError(
                f"must begin with 'none' (the original) and name each flip once, got {flips}"
            )
        return flips
