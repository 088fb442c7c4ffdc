"""Section `filter`: image sizes and duplicates."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import PositiveRange, Section, require_no_errors

# Of the 64 bits of a perceptual hash. Images with a larger distance are not near duplicates, and
# the search for them is slow.
MAX_HASH_DISTANCE = 12


class SizeRule(Section):
    """Which images are excluded because of their size."""

    rule: Literal["modal", "ranges", "none"]
    tolerance: Annotated[int, Field(ge=0)]
    width: PositiveRange | None = None
    height: PositiveRange | None = None
    area: PositiveRange | None = None
    aspect: PositiveRange | None = None

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        names = ("width", "height", "area", "aspect")
        given = [name for name in names if getattr(self, name) is not None]
        if self.rule == "ranges" and not given:
            raise ValueError(
                "rule ranges needs at least one of width, height, area (in pixels) and aspect "
                "(width / height), each as [min, max]"
            )
        if self.rule != "ranges":
            require_no_errors(
                [
                    f"{name}: not used by rule {self.rule}. Remove it or set rule to ranges"
                    for name in given
                ]
            )
        return self


class Duplicates(Section):
    """How exact and near duplicates are treated."""

    exact: Literal["drop", "group", "off"]
    near: Literal["drop", "group", "off"]
    distance: Annotated[int, Field(ge=0, le=MAX_HASH_DISTANCE)]
    conflicting: Literal["drop", "off"]


class Filter(Section):
    """Section `filter`."""

    size: SizeRule
    duplicates: Duplicates
