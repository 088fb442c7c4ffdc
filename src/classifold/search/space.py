"""The space of a search, and the params of a trial with values from it."""

import copy
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from classifold.errors import UserError
from classifold.search.search_file import Distribution, Search

# Dotted path -> what Optuna stores: a number, or the label of a choice.
Sampled = dict[str, Any]


def choice_label(choice: Any) -> Any:
    """Convert a choice to what Optuna can store: a mapping or a list becomes JSON."""
    return json.dumps(choice) if isinstance(choice, (dict, list)) else choice


def values_of(sampled: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """Return what a trial sets in params: numbers, and choices in place of their labels."""
    values = {}
    for path, value in sampled.items():
        choices = search.space[path].choices
        by_label = {} if choices is None else {choice_label(choice): choice for choice in choices}
        values[path] = by_label.get(value, value)
    return values


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy `content` and set values at dotted paths; items of lists are named by their index.

    A path is set before the paths that begin with it. Its last key may be new.

    Raises:
        UserError: if a path does not exist.
    """
    changed = copy.deepcopy(dict(content))
    for path in sorted(values, key=lambda path: path.count(".")):
        parent, key = place_of(changed, path)
        parent[key] = copy.deepcopy(values[path])
    return changed


def place_of(content: Any, path: str) -> tuple[Any, str | int]:
    """Find the mapping or list that holds the last key of a dotted path, and that key.

    Raises:
        UserError: if the path does not exist. The last key of a mapping may be absent.
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
    raise UserError(f"{path}: no such key, since {'.'.join(sections)} is a value, got {place!r}.")


def _child(place: Any, key: str, *, path: str) -> Any:
    if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
        return place[int(key)]
    if isinstance(place, dict) and key in place:
        return place[key]
    if not isinstance(place, (dict, list)):
        parent = path.rpartition(".")[0]
        raise UserError(f"{path}: no such key, since {parent} is a value, got {place!r}.")
    known = range(len(place)) if isinstance(place, list) else place
    raise UserError(f"{path}: no such key. Use one of {', '.join(map(str, known))}.")


def n_trials(search: Search) -> int:
    """Count the trials of the whole search."""
    if search.n_trials is not None:
        return search.n_trials
    return math.prod(len(each.choices or ()) for each in search.space.values())


def distributions(search: Search) -> dict[str, BaseDistribution]:
    """Convert the space to distributions of Optuna."""
    return {path: _distribution(each) for path, each in search.space.items()}


def _distribution(each: Distribution) -> BaseDistribution:
    if each.choices is not None:
        return CategoricalDistribution([choice_label(choice) for choice in each.choices])
    if each.is_whole:
        step = int(each.step or 1)
        return IntDistribution(int(each.low or 0), int(each.high or 0), bool(each.log), step)
    return FloatDistribution(float(each.low or 0), float(each.high or 0), bool(each.log), each.step)


def cells(search: Search) -> list[Sampled]:
    """List all combinations of the choices; those of the last path change fastest."""
    labels = ([choice_label(c) for c in each.choices or ()] for each in search.space.values())
    return [dict(zip(search.space, cell, strict=True)) for cell in itertools.product(*labels)]


def corners(search: Search) -> list[Sampled]:
    """List combinations that cover every choice and both ends of every range.

    Of a grid these are all cells; otherwise each choice and each end appears once, beside the
    first choice or the lowest number of the other paths.
    """
    if search.sampler.name == "grid":
        return cells(search)
    ends = {
        path: [each.low, each.high]
        if each.choices is None
        else [choice_label(choice) for choice in each.choices]
        for path, each in search.space.items()
    }
    first = {path: values[0] for path, values in ends.items()}
    others = [first | {path: value} for path, values in ends.items() for value in values[1:]]
    return [first, *others]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Shorten each path to its last two keys, or to as many as make the names distinct."""
    keys = {path: path.split(".") for path in paths}
    for n in itertools.count(2):
        # The model's name is no part of its own settings, such as its batch size.
        names = {
            path: ".".join(each[max(2 if each[0] == "models" and n == 2 else 0, len(each) - n) :])
            for path, each in keys.items()
        }
        if len(set(names.values())) == len(names):
            break
    return names


def format_values(sampled: Mapping[str, Any]) -> str:
    """Format sampled values for a message, such as "name sgd, lr 0.0034"."""
    names = short_names(sampled)
    return ", ".join(
        f"{names[path]} {value:.4g}" if isinstance(value, float) else f"{names[path]} {value}"
        for path, value in sampled.items()
    )
