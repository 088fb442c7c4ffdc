"""Section `evaluate`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from classifold.params.schema.section import Section, Seed, check_unique


class Bootstrap(Section):
    """Settings of bootstrap confidence intervals."""

    resamples: Annotated[int, Field(ge=100, le=100_000)]
    seed: Seed


class TestTime(Section):
    """Settings of test-time augmentation."""

    flips: Literal["none", "horizontal", "both"]
    shift: Annotated[int, Field(ge=0)]


# Each value is a row of every table of the report, and a column of predictions.
Probabilities = Annotated[
    list[Annotated[float, Field(ge=0.001, le=0.99999)]],
    Field(max_length=10),
    AfterValidator(check_unique),
]


class PredictionSets(Section):
    """Levels of prediction sets: the nominal coverage of each; none for no sets."""

    levels: Probabilities


class Abstention(Section):
    """Target accuracies of the predictions that are left after abstention."""

    accuracies: Probabilities


class Evaluate(Section):
    """Section `evaluate`."""

    calibration_bins: Annotated[int, Field(ge=1, le=1000)]
    bootstrap: Bootstrap
    prediction_sets: PredictionSets | None = None  # LEVELS in models/decisions.py
    abstention: Abstention | None = None  # ACCURACIES there
    test_time: TestTime
