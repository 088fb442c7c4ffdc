"""Base class of all sections of `params.yaml`, and types that several sections use."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)
from pydantic_core import PydanticCustomError

BEST = "best"  # as explain.model: the model that validation images select

# Keys beside the models in metrics, and a value beside the models in params.
RESERVED_NAMES = {"stack", "majority_baseline", BEST}

Fraction = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pixels = Annotated[int, Field(ge=4, le=2048)]
Fill = Literal["reflect", "edge", "black"]
RotationDegrees = Annotated[float, Field(ge=0, le=180)]
ShearDegrees = Annotated[float, Field(ge=0, le=60)]
ShiftFractions = Annotated[list[Fraction], Field(min_length=2, max_length=2)]


# File systems allow 255 bytes per name; DVC and atomic writes add some 50.
MAX_CHARACTERS_PER_NAME = 100

# Windows has no files of these names, whatever their extension.
RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])", re.IGNORECASE)


def _check_name(name: str) -> str:
    """Accept names that can be parts of dotted keys, file names and shell commands."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError("a name must be a letter followed by letters, digits, '_' or '-'")
    if len(name) > MAX_CHARACTERS_PER_NAME:
        raise ValueError(
            f"a name must have at most {MAX_CHARACTERS_PER_NAME} characters, since it is part of "
            f"file names, got {len(name):,}. Shorten it"
        )
    if RESERVED.fullmatch(name):
        raise ValueError("a name must not be one that Windows reserves. Choose another one")
    return name


def _check_model_name(name: str) -> str:
    if name.lower() in RESERVED_NAMES:
        raise ValueError(f"a model's name must not be {' or '.join(sorted(RESERVED_NAMES))}")
    return _check_name(name)


Name = Annotated[str, AfterValidator(_check_name)]
ModelName = Annotated[str, AfterValidator(_check_model_name)]


def _check_order(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError(f"must be [min, max], got {limits}")
    return limits


Item = TypeVar("Item")


def check_unique(values: list[Item]) -> list[Item]:
    """Refuse a list with equal values."""
    if len(set(values)) < len(values):
        raise ValueError(f"must have each value once, got {values}")
    return values


PixelsRange = Annotated[
    list[Pixels], Field(min_length=2, max_length=2), AfterValidator(_check_order)
]
PositiveRange = Annotated[
    list[PositiveFloat], Field(min_length=2, max_length=2), AfterValidator(_check_order)
]
NonNegativeRange = Annotated[
    list[NonNegativeFloat], Field(min_length=2, max_length=2), AfterValidator(_check_order)
]


def _check_black_and_white(limits: list[float]) -> list[float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"must be auto or [black, white] with black < white, got {limits}")
    if not math.isfinite(limits[1] - limits[0]):
        raise ValueError(f"must be auto or [black, white] with a finite difference, got {limits}")
    return limits


BlackAndWhite = Annotated[
    list[float], Field(min_length=2, max_length=2), AfterValidator(_check_black_and_white)
]


class Section(BaseModel):
    """A mapping with a fixed set of keys, whose values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, content: Any) -> Any:
        if isinstance(content, Mapping):
            unknown = [key for key in content if key not in cls.model_fields]
            if unknown:
                context = {"unknown": unknown, "known": list(cls.model_fields)}
                raise PydanticCustomError(UNKNOWN_KEYS, "unknown keys", context)
        return content


# Types of errors that stand for several lines of a message; see `validation.py`.
UNKNOWN_KEYS = "unknown_keys"
RULES = "rules"


def require_no_errors(errors: list[str]) -> None:
    """Raise one error for all rules that a section violates.

    Args:
        errors: lines such as `stop.metric: must be …`, with keys relative to the section.

    Raises:
        PydanticCustomError: if there is a line.
    """
    if errors:
        raise PydanticCustomError(RULES, "rules", {"errors": errors})
