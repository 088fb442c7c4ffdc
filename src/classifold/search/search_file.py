"""A search as a YAML file: of which model, over which settings, drawn how, judged by what."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from classifold.params.reader import read_mapping
from classifold.params.schema.section import Count, Positive, Section, Seed
from classifold.params.validation import check_content

STEP_TOLERANCE = 1e-6  # of a step: floats such as 0.3 / 0.1 are not whole


class Distribution(Section):
    """What a setting is drawn from: choices, or a range."""

    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool | None = None  # evenly in the logarithm
    step: Positive | None = None

    @model_validator(mode="after")
    def _is_choices_or_a_range(self) -> Self:
        range_keys = ("low", "high", "log", "step")
        given = [key for key in range_keys if getattr(self, key) is not None]
        if self.choices is not None:
            if given:
                raise ValueError(
                    f"choices stand alone, got {', '.join(given)} beside them; leave out either"
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
            raise ValueError("log: true and step exclude one another; leave out either")
        if self.is_whole and step != int(step):
            raise ValueError(
                f"a step between whole numbers must be whole, got {step:g}; write low and high "
                f"with a point, such as {self.low}.0, to draw any number"
            )
        if abs(width / step - round(width / step)) > STEP_TOLERANCE:
            raise ValueError(
                f"high must lie whole steps above low, got {self.low}, {self.high} and {step:g}"
            )

    @property
    def is_whole(self) -> bool:
        """Whether the range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


class RandomSampler(Section):
    """Every trial is drawn independently of the others."""

    name: Literal["random"]
    seed: Seed


class TpeSampler(Section):
    """Trials are drawn where earlier ones were good (Bergstra et al. 2011)."""

    name: Literal["tpe"]
    seed: Seed
    n_startup_trials: Count  # which are drawn at random


class GridSampler(Section):
    """Every combination of choices once, in the order of the file."""

    name: Literal["grid"]


class NoPruner(Section):
    """Every trial is trained to its end."""

    name: Literal["none"]


class MedianPruner(Section):
    """A trial ends that is worse than the median of the earlier ones after as many epochs."""

    name: Literal["median"]
    n_startup_trials: Annotated[int, Field(ge=0)]  # which are never ended
    n_warmup_steps: Annotated[int, Field(ge=0)]  # epochs after which none is ended


class HyperbandPruner(Section):
    """Of trials that start together, the best go on (Li et al. 2018)."""

    name: Literal["hyperband"]
    min_resource: Count  # epochs
    reduction_factor: Annotated[int, Field(ge=2)]  # one in so many goes on


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
            ranges = [path for path, drawn in self.space.items() if drawn.choices is None]
            if ranges:
                raise ValueError(
                    f"space.{ranges[0]}: sampler grid goes through choices: [...], got a range; "
                    "list its values, or take sampler random or tpe"
                )
            if self.n_trials is not None:
                raise ValueError(
                    "n_trials must be null with sampler grid, which tries all combinations, got "
                    f"{self.n_trials}"
                )
        elif self.n_trials is None:
            raise ValueError(f"n_trials must be a number with sampler {self.sampler.name}")
        for path in self.fixed:
            if path in self.space:
                raise ValueError(f"fixed.{path}: is drawn, too; name it in fixed or in space")
        if self.metric == "loss" and any(".loss" in path for path in self.space):
            raise ValueError(
                "metric: loss cannot compare trials whose losses differ; take accuracy or micro_f1"
            )
        return self


def read_search(path: Path) -> Search:
    """Read a search file and check it against the schema.

    Raises:
        UserError: if the file cannot be read or breaks a rule; all broken rules are named.
    """
    content = read_mapping(path)
    check_content(Search, content, path=path)
    return Search.model_validate(content)
