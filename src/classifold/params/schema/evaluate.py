"""Section `evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from classifold.params.schema.section import Section, Seed


class Bootstrap(Section):
    """Settings of bootstrap confidence intervals."""

    resamples: Annotated[int, Field(ge=100, le=100_000)]
    seed: Seed


class TestTime(Section):
    """Settings of test-time augmentation."""

    flips: Literal["none", "horizontal", "both"]
    shift: Annotated[int, Field(ge=0)]


class Evaluate(Section):
    """Section `evaluate`."""

    calibration_bins: Annotated[int, Field(ge=1, le=1000)]
    bootstrap: Bootstrap
    test_time: TestTime
