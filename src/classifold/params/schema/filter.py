"""Section `filter`: image sizes and duplicates."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import Range, Section

# Of the 64 bits of a perceptual hash; further apart are strangers, and the search grows slow.
MOST_BITS_APART = 12


class SizeRule(Section):
    rule: Literal["modal", "ranges", "none"]
    tolerance: Annotated[int, Field(ge=0)]
    width: Range | None = None
    height: Range | None = None
    area: Range | None = None
    aspect: Range | None = None

    @model_validator(mode="after")
    def _ranges_are_given(self) -> Self:
        names = ("width", "height", "area", "aspect")
        given = [name for name in names if getattr(self, name) is not None]
        if self.rule == "ranges" and not given:
            raise ValueError(
                "rule: ranges needs at least one of width, height, area (pixels) and aspect "
                "(width / height), each as [smallest, largest]"
            )
        if self.rule != "ranges" and given:
            raise ValueError(
                f"rule: {self.rule} looks at no {', '.join(given)}; set rule to ranges, or leave "
                f"{'it' if len(given) == 1 else 'them'} out"
            )
        return self


class Duplicates(Section):
    exact: Literal["drop", "group", "off"]
    near: Literal["drop", "group", "off"]
    distance: Annotated[int, Field(ge=0, le=MOST_BITS_APART)]
    conflicting: Literal["drop", "off"]


class Filter(Section):
    size: SizeRule
    duplicates: Duplicates
