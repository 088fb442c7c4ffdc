"""Section `ingest`."""

from typing import Annotated

from pydantic import Field

from classifold.params.schema.section import Fraction, Section


class Ingest(Section):
    """Section `ingest`."""

    background: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)
    ]
    max_unreadable: Fraction
