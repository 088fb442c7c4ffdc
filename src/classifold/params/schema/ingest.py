"""Section `ingest`."""

from typing import Annotated, Literal

from pydantic import Field

from classifold.params.schema.section import BlackAndWhite, Fraction, Section


class MaxUnreadable(Section):
    """How many files that cannot be read are tolerated: the larger of the two numbers."""

    fraction: Fraction
    count: Annotated[int, Field(ge=0)]


class Ingest(Section):
    """Section `ingest`."""

    background: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)
    ]
    max_unreadable: MaxUnreadable
    range: Literal["auto"] | BlackAndWhite
