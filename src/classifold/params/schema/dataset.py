"""Sections `dataset` and `limit`."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from classifold.params.schema.section import Count, Section


class Dataset(Section):
    """Section `dataset`."""

    path: Annotated[str, Field(min_length=1)]
    layout: str
    task: Literal["single", "multi"]

    @field_validator("layout")
    @classmethod
    def _check_layout(cls, layout: str) -> str:
        known = ("auto", "folder", "tiny-imagenet", "annotations", "table")
        if layout in known or re.fullmatch(r"torchvision:[A-Za-z0-9_]+", layout):
            return layout
        raise ValueError(
            f"must be one of {', '.join(known)} or torchvision:<Class>, got '{layout}'"
        )


class Limit(Section):
    """Section `limit`: maximum numbers of images and epochs for quick trials."""

    images_per_class: Annotated[int, Field(ge=3)] | None  # one per split
    epochs: Count | None
