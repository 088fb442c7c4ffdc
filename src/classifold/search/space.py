"""From a search's space to the params of one trial."""

import copy
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from classifold.data.seeding import generator
from classifold.errors import UserError
from classifold.search.search_file import Distribution, Search

Drawn = dict[str, Any]  # dotted path -> what Optuna keeps: a number, or the label of a choice


def label(choice: Any) -> Any:
    """A choice as Optuna keeps it: a mapping or a list as JSON."""
    return json.dumps(choice) if isinstance(choice, (dict, list)) else choice


def values_of(drawn: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """What a trial sets in params: numbers as they are, choices instead of their labels."""
    values = {}
    for path, value in drawn.items():
        choices = search.space[path].choices
        by_label = {} if choices is None else {label(choice): choice for choice in choices}
        values[path] = by_label.get(value, value)
    return values


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `content` with other values at dotted paths; list items go by their number.

    A path is set before those that begin with it. Its last key may be new.

    Raises:
        UserError: if there is no such place.
    """
    changed = copy.deepcopy(dict(content))
    for path in sorted(values, key=lambda path: path.count(".")):
        parent, key = place_of(changed, path)
        parent[key] = copy.deepcopy(values[path])
    return changed


def place_of(content: Any, path: str) -> tuple[Any, str | int]:
    """The mapping or list that holds the last key of a dotted path, and that key.

    Raises:
        UserError: if there is no such place. The last key of a mapping may be absent.
    """
    *sections, last = path.split(".")
    place = content
    for n, section in enumerate(sections):
        place = _child(place, section, path=".".join(sections[: n + 1]))
    if isinstance(place, list):
        _child(place, last, path=path)
        return place, int(last)
    if isinstance(place, dict):
        return place, last
    raise UserError(f"there is no '{path}': {'.'.join(sections)} is {place!r}")


def _child(place: Any, key: str, *, path: str) -> Any:
    if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
        return place[int(key)]
    if isinstance(place, dict) and key in place:
        return place[key]
    known = range(len(place)) if isinstance(place, list) else place
    listed = ", ".join(map(str, known)) if isinstance(place, (dict, list)) else repr(place)
    raise UserError(f"there is no '{path}'; known there: {listed}")


def n_trials(search: Search) -> int:
    """How many trials there are in all."""
    if search.n_trials is not None:
        return search.n_trials
    return math.prod(len(drawn.choices or ()) for drawn in search.space.values())


def distributions(search: Search) -> dict[str, BaseDistribution]:
    """The space as Optuna takes it."""
    return {path: _distribution(drawn) for path, drawn in search.space.items()}


def _distribution(drawn: Distribution) -> BaseDistribution:
    if drawn.choices is not None:
        return CategoricalDistribution([label(choice) for choice in drawn.choices])
    if drawn.is_whole:
        step = int(drawn.step or 1)
        return IntDistribution(int(drawn.low or 0), int(drawn.high or 0), bool(drawn.log), step)
    return FloatDistribution(
        float(drawn.low or 0), float(drawn.high or 0), bool(drawn.log), drawn.step
    )


def sampler_of(search: Search, trial: int) -> BaseSampler:
    """A sampler for one trial.

    Each trial has its own, seeded by its number: one sampler for all would, after a stop or in
    another process, draw again what it had drawn.

    Args:
        search: whose space is drawn from.
        trial: counted from 1.
    """
    if search.sampler.name == "grid":
        return _Cell(cells(search)[trial - 1])
    seed = int(generator(search.sampler.seed, "trial", trial).integers(2**32))
    if search.sampler.name == "tpe":
        return TPESampler(n_startup_trials=search.sampler.n_startup_trials, seed=seed)
    return RandomSampler(seed)


def cells(search: Search) -> list[Drawn]:
    """All combinations of the choices, the last path's changing fastest."""
    labels = ([label(c) for c in drawn.choices or ()] for drawn in search.space.values())
    return [dict(zip(search.space, cell, strict=True)) for cell in itertools.product(*labels)]


class _Cell(RandomSampler):
    """Gives a trial the values of one cell of a grid."""

    def __init__(self, cell: Drawn) -> None:
        super().__init__()
        self._cell = cell

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value of the cell."""
        return self._cell[param_name]


def corners(search: Search) -> list[Drawn]:
    """Combinations that are tried on the schema before anything trains.

    Of a grid all cells; else each choice and each end of a range once, the others being the
    first choice or the lowest number.
    """
    if search.sampler.name == "grid":
        return cells(search)
    ends = {
        path: [drawn.low, drawn.high]
        if drawn.choices is None
        else [label(choice) for choice in drawn.choices]
        for path, drawn in search.space.items()
    }
    first = {path: values[0] for path, values in ends.items()}
    others = [first | {path: value} for path, values in ends.items() for value in values[1:]]
    return [first, *others]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """The last two keys of each path, or as many as tell them apart."""
    keys = {path: path.split(".") for path in paths}
    for n in itertools.count(2):
        # A model's own settings, such as its batch size, go without its name.
        names = {
            path: ".".join(each[max(2 if each[0] == "models" and n == 2 else 0, len(each) - n) :])
            for path, each in keys.items()
        }
        if len(set(names.values())) == len(names):
            break
    return names


def in_words(drawn: Mapping[str, Any]) -> str:
    """Such as "name sgd, lr 0.0034"."""
    names = short_names(drawn)
    return ", ".join(
        f"{names[path]} {value:.4g}" if isinstance(value, float) else f"{names[path]} {value}"
        for path, value in drawn.items()
    )
