"""What all sections of `params.yaml` have in common: their base class and the types of values."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pixels = Annotated[int, Field(ge=4, le=2048)]
Fill = Literal["reflect", "edge", "black"]
Degrees = Annotated[float, Field(ge=0, le=180)]
Slant = Annotated[float, Field(ge=0, le=60)]
ShiftFractions = Annotated[list[Fraction], Field(min_length=2, max_length=2)]


def _is_name(name: str) -> str:
    """Names are parts of dotted keys, of files' names and of commands."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError("a name must be a letter followed by letters, digits, '_' or '-'")
    return name


def _is_model_name(name: str) -> str:
    if name in {"stack", "majority_baseline"}:
        raise ValueError("a model's name must be neither 'stack' nor 'majority_baseline'")
    return _is_name(name)


Name = Annotated[str, AfterValidator(_is_name)]
ModelName = Annotated[str, AfterValidator(_is_model_name)]


def _ascends(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError(f"must be [smallest, largest], got {limits}")
    return limits


Range = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascends)]
FactorRange = Annotated[
    list[NotNegative], Field(min_length=2, max_length=2), AfterValidator(_ascends)
]


class Section(BaseModel):
    """A mapping of known keys, each of which must be of the right type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = list(cls.model_fields)
        for key in given:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean '{close[0]}'? " if close else ""
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{key}'; {hint}known here: {known}",
                    {"key": str(key), "hint": hint, "known": ", ".join(known)},
                )
        return given
