"""Sections `dataset` and `limit`."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from classifold.params.schema.section import Count, Section, require_no_errors


class Dataset(Section):
    """Section `dataset`."""

    path: Annotated[str, Field(min_length=1)]
    layout: str
    task: Literal["single", "multi"]
    folders: str = "auto"  # what the folders of each level are, in the layout folder

    @field_validator("layout")
    @classmethod
    def _check_layout(cls, layout: str) -> str:
        known = ("auto", "folder", "tiny-imagenet", "annotations", "table")
        if layout in known or re.fullmatch(r"torchvision:[A-Za-z0-9_]+", layout):
            return layout
        raise ValueError(
            f"must be one of {', '.join(known)} or torchvision:<Class>, got '{layout}'"
        )

    @field_validator("folders")
    @classmethod
    def _check_folders(cls, folders: str) -> str:
        parts = folders.split("/")
        repeated = any(parts.count(word) > 1 for word in ("class", "split", "group"))
        if folders != "auto" and ("class" not in parts or repeated or not all(parts)):
            remedy = ""
            if "class" not in parts and "class" in folders.lower().split("/"):
                remedy = ". Write class, split, group and any in lower case"
            elif not all(parts) and "class" in parts:
                remedy = ". Remove each '/' at the start, at the end or beside another"
            raise ValueError(
                "must be auto, or a word per level of folders from dataset.path down, joined by "
                "'/': class once, split and group at most once, any, or a folder's name, got "
                f"'{folders}'{remedy}"
            )
        return folders

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if self.folders != "auto" and self.layout not in ("auto", "folder"):
            rule = f"must be auto unless layout is auto or folder, got '{self.folders}'"
            require_no_errors([f"folders: {rule}"])
        return self


class Limit(Section):
    """Section `limit`: maximum numbers of images and epochs for quick trials."""

    images_per_class: Annotated[int, Field(ge=3)] | None  # one per split
    epochs: Count | None
