"""Section `split`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from classifold.params.schema.section import Section, Seed


class Fractions(Section):
    """Fractions of the images in each split; by default no image is only for calibration."""

    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(ge=0, lt=1)]
    calibration: Annotated[float, Field(ge=0, lt=1)] | None = None  # 0

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.validation + self.test + (self.calibration or 0)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"must sum to 1, got {total:g}")
        return self


class Split(Section):
    """Section `split`."""

    fractions: Fractions
    method: Literal["grouped", "scikit-multilearn"]
    seed: Seed
