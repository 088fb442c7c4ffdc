"""Section `policies`: on-the-fly augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from classifold.params.schema.section import (
    Fill,
    Fraction,
    NonNegativeRange,
    PositiveRange,
    RotationDegrees,
    Section,
    ShearDegrees,
    ShiftFractions,
)


class RandomCrop(Section):
    """A random crop that is resized, with ranges of area and aspect ratio."""

    area: PositiveRange
    aspect: PositiveRange


class RandAugment(Section):
    """RandAugment: the number of operations and their strength."""

    n: Annotated[int, Field(ge=1, le=8)]
    strength: Fraction


class Erase(Section):
    """Random erasing."""

    probability: Fraction
    area: PositiveRange
    aspect: PositiveRange


class Mixing(Section):
    """Mixup and CutMix with the alphas of their beta distributions."""

    mixup: PositiveFloat | None = None
    cutmix: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check_alphas(self) -> Self:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("mix needs mixup, cutmix or both, each with an alpha such as 1.0")
        return self


class Step(Section):
    """One step of a policy: exactly one operation with its settings."""

    flip: Literal["horizontal", "vertical", "both"] | None = None
    rotate: RotationDegrees | None = None
    shear: ShearDegrees | None = None
    scale: PositiveRange | None = None
    zoom: PositiveRange | None = None
    shift: ShiftFractions | None = None
    pad_crop: Fraction | None = None
    random_crop: RandomCrop | None = None
    channel_shift: Annotated[float, Field(ge=0, le=255)] | None = None
    channel_shuffle: Fraction | None = None
    brightness: NonNegativeRange | None = None
    contrast: NonNegativeRange | None = None
    saturation: NonNegativeRange | None = None
    hue: RotationDegrees | None = None
    grayscale: Fraction | None = None
    trivial_augment: Literal[True] | None = None
    rand_augment: RandAugment | None = None
    jpeg: (
        Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=2, max_length=2)]
        | None
    ) = None
    erase: Erase | None = None
    mix: Mixing | None = None

    @model_validator(mode="after")
    def _check_one_operation(self) -> Self:
        names = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(names) != 1:
            raise ValueError(f"must be exactly one operation, got {', '.join(names) or 'none'}")
        return self


class Policy(Section):
    """A list of operations and how empty borders are filled."""

    fill: Fill
    steps: list[Step]
