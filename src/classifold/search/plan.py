"""What a search does, once it is known which params and which images it is about."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from classifold.errors import UserError
from classifold.models.device import choose_device, choose_precision
from classifold.params.schema.params import Params
from classifold.params.validation import broken_rules
from classifold.runtime.source_code import PACKAGE, code_behind
from classifold.search.search_file import Search, read_search
from classifold.search.space import (
    corners,
    in_words,
    n_trials,
    values_of,
    with_values,
)

# What the outcome of a trial depends on; besides, the file of its network.
CODE = ("search/trial.py", "search/space.py")


class Plan(NamedTuple):
    """A search file, checked against the params and the images that it is about."""

    name: str  # of the file
    search: Search
    params: dict[str, Any]  # with what is fixed, and the epochs of the search
    packs: Path
    key: str  # of all that the outcome of a trial depends on, but for what is drawn

    @property
    def n_trials(self) -> int:
        """How many trials there are in all; they are counted from 1."""
        return n_trials(self.search)

    @property
    def max_epochs(self) -> int:
        """Of a trial, over all phases."""
        return max(
            sum(phase["epochs"] for phase in self._model(drawn)["phases"].values())
            for drawn in corners(self.search)
        )

    def params_of(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The whole params of a trial.

        Raises:
            UserError: if they break a rule of the schema.
        """
        params = with_values(self.params, values_of(drawn, self.search))
        if lines := broken_rules(Params, params):
            raise UserError(
                f"params.yaml would break a rule with {in_words(drawn)}: {'; '.join(lines)}"
            )
        return params

    def _model(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        model: dict[str, Any] = self.params_of(drawn)["models"][self.search.model]
        return model


def make_plan(file: Path, params: Mapping[str, Any], *, packs: Path) -> Plan:
    """Read a search file, and check all that can be checked before anything trains.

    Args:
        file: of the search.
        params: the whole of `params.yaml`.
        packs: folder of the packs `train` and `validation`.

    Raises:
        UserError: if the file breaks a rule, searches what is no part of the model's training,
            or would make params that break a rule; if the machine has no such device.
    """
    search = read_search(file)
    if search.model not in params["models"]:
        raise UserError(
            f"{file}: model: params.yaml has no model '{search.model}'; it has "
            f"{', '.join(params['models'])}"
        )
    if search.metric == "micro_f1" and params["dataset"]["task"] == "single":
        raise UserError(
            f"{file}: metric: must be accuracy or loss for one label an image (dataset.task: "
            "single), where micro F1 is accuracy"
        )
    policies = _policies(search, params)
    for section, paths in {"fixed": search.fixed, "space": search.space}.items():
        for path in paths:
            if reason := _refusal(path, search.model, policies=policies, drawn=section == "space"):
                raise UserError(f"{file}: {section}.{path}: {reason}")
    try:
        base = _with_epochs(with_values(params, search.fixed), search)
        plan = Plan(file.stem, search, base, packs, "")
        for drawn in corners(search):
            plan.params_of(drawn)
    except UserError as error:
        raise UserError(f"{file}: {error}; correct `space` or `fixed`") from None
    return plan._replace(key=_key(plan, policies))


def _policies(search: Search, params: Mapping[str, Any]) -> list[str]:
    """The policies that trials may use."""
    path = f"models.{search.model}.online"
    if path in search.space:
        return list(search.space[path].choices or [])
    return [search.fixed.get(path, params["models"][search.model]["online"])]


def _refusal(path: str, model: str, *, policies: list[str], drawn: bool) -> str | None:
    """Why a path cannot be searched, if it cannot."""
    match path.split("."):
        case ["models", name, _, *_] if name != model:
            return f"belongs to another model than '{model}', which this search trains"
        case ["models", _, "seed"] if drawn:
            return (
                "stays the same in all trials, so that they begin with the same weights; how far "
                f"scores vary with it tells dvc exp run --queue -S '{path}=1,2,3'"
            )
        case ["models", _, _, *_]:
            return None
        case ["policies", name, _, *_] if name not in policies:
            return f"belongs to a policy that '{model}' does not use; it uses {', '.join(policies)}"
        case ["train", "launcher"]:
            return "has no part in a trial, which one process trains; see --workers"
        case ["policies", _, _, *_] | ["train", _]:
            return None
        case ["models" | "policies" | "train", *_]:
            return "is a whole section; name a key in it"
        case [section, *_]:
            return (
                f"a search trains one model on the images that data/augmented holds, and {section} "
                "belongs to other stages; sweep it with "
                f"dvc exp run --queue -S '{path}=…,…', see docs/SEARCH.md"
            )
    return None


def _with_epochs(params: dict[str, Any], search: Search) -> dict[str, Any]:
    if search.epochs is None:
        return params
    phases = f"models.{search.model}.phases"
    names = params["models"][search.model]["phases"]
    return with_values(params, {f"{phases}.{name}.epochs": search.epochs for name in names})


def _key(plan: Plan, policies: list[str]) -> str:
    """Tell searches apart: by file, params, images, code and torch's version.

    The number of trials does not count, so that a search may grow; nor does the value that
    params have where a search sets it, so that it stays the same once its best is applied.
    """
    train = plan.params["train"]
    precision = choose_precision(train["precision"], choose_device(train["device"]))
    # The longest paths first: they lie within the shorter ones.
    blank = with_blanks(plan.params, sorted(plan.search.space, key=len, reverse=True))
    told = {
        "search": plan.search.model_dump(exclude={"n_trials"}),
        "train": {key: value for key, value in blank["train"].items() if key != "launcher"},
        "precision": precision,
        "model": blank["models"][plan.search.model],
        "policies": {name: blank["policies"][name] for name in policies},
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    network = plan.params["models"][plan.search.model]["network"]
    modules = (*CODE, f"networks/{network}.py")
    places = sorted(set().union(*(code_behind(PACKAGE / module) for module in modules)))
    for place in [*places, plan.packs]:
        files = place.rglob("*") if place.is_dir() else [place]
        for path in sorted(file for file in files if _counts(file)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def with_blanks(params: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """The params with nothing where a search sets something."""
    for path in paths:
        params = with_values(params, {path: None})
    return params


def _counts(file: Path) -> bool:
    return file.is_file() and file.suffix != ".pyc" and file.name != ".gitignore"
