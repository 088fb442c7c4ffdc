"""The schema of search files: the model, the space, the sampler, the pruner and the metric."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from classifold.params.reader import read_mapping
from classifold.params.schema.section import Count, Section, Seed
from classifold.params.validation import check_content

STEP_TOLERANCE = 1e-6  # in steps: 0.3 / 0.1 is not exactly an integer


class Distribution(Section):
    """The values that a setting may have: choices, or a range."""

    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool | None = None  # uniform in the logarithm
    step: PositiveFloat | None = None

    @model_validator(mode="after")
    def _is_choices_or_a_range(self) -> Self:
        range_keys = ("low", "high", "log", "step")
        given = [key for key in range_keys if getattr(self, key) is not None]
        if self.choices is not None:
            if given:
                raise ValueError(
                    f"choices exclude a range, got {', '.join(given)} beside them; remove either"
                )
            if any(choice in self.choices[:n] for n, choice in enumerate(self.choices)):
                raise ValueError(f"choices must differ from one another, got {self.choices}")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs choices: [...], or low and high")
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs a low above 0, got {self.low}")
        if self.step is not None:
            self._check_step(self.step, self.high - self.low)
        return self

    def _check_step(self, step: float, width: float) -> None:
        if self.log:
            raise ValueError("log: true and step exclude one another; remove either")
        if self.is_whole and step != int(step):
            raise ValueError(
                f"the step between integers must be an integer, got {step:g}; write low and high "
                f"with a decimal point, such as {self.low}.0, to sample floats"
            )
        if abs(width / step - round(width / step)) > STEP_TOLERANCE:
            raise ValueError(
                f"high - low must be a multiple of step, got {self.low}, {self.high} and {step:g}"
            )

    @property
    def is_whole(self) -> bool:
        """Whether the range is of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class RandomSampler(Section):
    """Each trial is sampled independently of the others."""

    name: Literal["random"]
    seed: Seed


class TpeSampler(Section):
    """Trials are sampled where earlier trials scored well (Bergstra et al. 2011)."""

    name: Literal["tpe"]
    seed: Seed
    n_startup_trials: Count  # the first trials, which are sampled at random


class GridSampler(Section):
    """Each combination of choices is tried once, in the order of the file."""

    name: Literal["grid"]


class NoPruner(Section):
    """No trial is pruned."""

    name: Literal["none"]


class MedianPruner(Section):
    """A trial is pruned if it is worse than the median of earlier trials at the same epoch."""

    name: Literal["median"]
    n_startup_trials: Annotated[int, Field(ge=0)]  # which are never pruned
    n_warmup_steps: Annotated[int, Field(ge=0)]  # the first epochs, after which none is pruned


class HyperbandPruner(Section):
    """Successive halving: the best trials of a bracket go on (Li et al. 2018)."""

    name: Literal["hyperband"]
    min_resource: Count  # epochs
    reduction_factor: Annotated[int, Field(ge=2)]  # one in this many goes on


class Search(Section):
    """The whole of a search file."""

    model: str
    metric: Literal["accuracy", "loss", "micro_f1"]
    epochs: Count | None
    n_trials: Count | None
    sampler: Annotated[RandomSampler | TpeSampler | GridSampler, Field(discriminator="name")]
    pruner: Annotated[NoPruner | MedianPruner | HyperbandPruner, Field(discriminator="name")]
    fixed: dict[str, Any]
    space: Annotated[dict[str, Distribution], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.sampler.name == "grid":
            ranges = [path for path, each in self.space.items() if each.choices is None]
            if ranges:
                raise ValueError(
                    f"space.{ranges[0]}: sampler grid needs choices: [...], got a range; list its "
                    "values, or set the sampler to random or tpe"
                )
            if self.n_trials is not None:
                raise ValueError(
                    f"n_trials must be null with sampler grid, got {self.n_trials}; it tries all "
                    "combinations"
                )
        elif self.n_trials is None:
            raise ValueError(
                f"n_trials must be an integer with sampler {self.sampler.name}, got null"
            )
        for path in self.fixed:
            if path in self.space:
                raise ValueError(
                    f"fixed.{path}: is in space, too; remove it from fixed or from space"
                )
        if self.metric == "loss" and any(".loss" in path for path in self.space):
            raise ValueError(
                "metric: loss cannot compare trials with different loss functions; set it to "
                "accuracy or micro_f1"
            )
        return self


def read_search(path: Path) -> Search:
    """Read a search file and check it against the schema.

    Raises:
        UserError: if the file cannot be read or is not valid; all errors are named.
    """
    content = read_mapping(path)
    check_content(Search, content, path=path)
    return Search.model_validate(content)
