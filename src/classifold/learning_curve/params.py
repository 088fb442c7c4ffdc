"""The schema of `studies/learning_curve/params.yaml`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from classifold.learning_curve.power_law import MIN_SIZES
from classifold.params.schema.models import Probe
from classifold.params.schema.section import (
    Count,
    Section,
    Seed,
    check_unique,
    require_no_errors,
)
from classifold.params.validation import check_params

CURVE_PARAMS = Path("studies/learning_curve/params.yaml")


class _CurveProbe(Probe):
    network: Literal["probe"]  # its features are computed once


class MeasureCurve(Section):
    """Section `measure_curve`."""

    parts: Annotated[int, Field(ge=4, le=1000)]
    sizes: list[Count]
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(check_unique)]
    seed: Seed
    model: _CurveProbe

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        increasing = self.sizes == sorted(set(self.sizes)) and self.sizes[-1:] == [self.parts]
        n_half = count_half(self.sizes, n_parts=self.parts)
        if len(self.sizes) < MIN_SIZES or n_half < 2 or not increasing:
            rule = f"at least {MIN_SIZES} increasing numbers, two of them at most {self.parts // 2}"
            require_no_errors(
                [f"sizes: must be {rule} and the last one {self.parts} (parts), got {self.sizes}"]
            )
        return self


class CurveParams(Section):
    measure_curve: MeasureCurve


def check_curve_params(path: Path = CURVE_PARAMS) -> dict[str, Any]:
    """Check the params of the study as `check_params` checks those of the pipeline."""
    return check_params(path, CurveParams)


def count_half(sizes: list[int], *, n_parts: int) -> int:
    """Count the sizes of at most half of the parts."""
    return sum(2 * size <= n_parts for size in sizes)
