"""Section `policies`: on-the-fly augmentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import (
    Degrees,
    FactorRange,
    Fill,
    Fraction,
    Positive,
    Range,
    Section,
    ShiftFractions,
    Slant,
)


class RandomCrop(Section):
    area: Range
    aspect: Range


class RandAugment(Section):
    n: Annotated[int, Field(ge=1, le=8)]
    strength: Fraction


class Erase(Section):
    probability: Fraction
    area: Range
    aspect: Range


class Mixing(Section):
    mixup: Positive | None = None
    cutmix: Positive | None = None

    @model_validator(mode="after")
    def _names_a_way(self) -> Self:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("mix needs mixup, cutmix or both, each with its alpha, such as 1.0")
        return self


class Step(Section):
    """One step of a policy: exactly one name with its settings."""

    flip: Literal["horizontal", "vertical", "both"] | None = None
    rotate: Degrees | None = None
    shear: Slant | None = None
    scale: Range | None = None
    zoom: Range | None = None
    shift: ShiftFractions | None = None
    pad_crop: Fraction | None = None
    random_crop: RandomCrop | None = None
    channel_shift: Annotated[float, Field(ge=0, le=255)] | None = None
    channel_shuffle: Fraction | None = None
    brightness: FactorRange | None = None
    contrast: FactorRange | None = None
    saturation: FactorRange | None = None
    hue: Degrees | None = None
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
    def _is_one_step(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"a step has exactly one name, got {', '.join(named) or 'none'}")
        return self


class Policy(Section):
    fill: Fill
    steps: list[Step]
