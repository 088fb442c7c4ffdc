"""Section `ingest`."""

from typing import Annotated, Literal

from pydantic import Field

from classifold.params.schema.section import BlackAndWhite, Fraction, Section


class Ingest(Section):
    """Section `ingest`."""

    background: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)
    ]
    max_unreadable: Fraction
    range: Literal["auto"] | BlackAndWhite
