"""A search file, checked against the params and the images that it is about."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from classifold.data.pack import files_to_hash
from classifold.errors import UserError
from classifold.models.device import choose_device, choose_precision
from classifold.params.schema.params import Params
from classifold.params.validation import validation_errors
from classifold.runtime.source_code import PACKAGE, code_behind
from classifold.search.search_file import Search, read_search
from classifold.search.space import (
    corners,
    format_values,
    n_trials,
    values_of,
    with_values,
)

TRIAL = PACKAGE / "search/trial.py"  # imports all that a trial runs, except its network


class Plan(NamedTuple):
    """A search that is ready to run."""

    name: str  # name of the file
    search: Search
    params: dict[str, Any]  # with the fixed values and the epochs of the search
    packs: Path
    key: str  # a hash of all that trials depend on, except the sampled values

    @property
    def n_trials(self) -> int:
        """The number of all trials; they are counted from 1."""
        return n_trials(self.search)

    @property
    def max_epochs(self) -> int:
        """The largest number of epochs of a trial, over all phases."""
        return max(
            sum(phase["epochs"] for phase in self._model(sampled).get("phases", {}).values()) or 1
            for sampled in corners(self.search)
        )

    def params_of(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        """Make all params of a trial.

        Raises:
            UserError: if they are not valid.
        """
        params = with_values(self.params, values_of(sampled, self.search))
        if lines := validation_errors(Params, params):
            raise UserError(
                f"params.yaml is not valid with the values {format_values(sampled)}: "
                + "; ".join(lines)
            )
        return params

    def _model(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        model: dict[str, Any] = self.params_of(sampled)["models"][self.search.model]
        return model


def make_plan(file: Path, params: Mapping[str, Any], *, packs: Path) -> Plan:
    """Read a search file, and check it before anything is trained.

    Args:
        file: the search file.
        params: the content of `params.yaml`.
        packs: folder of the packs `train` and `validation`.

    Raises:
        UserError: if the file is not valid, names settings that do not belong to the model's
            training, or results in params that are not valid; if the device is not available.
    """
    search = read_search(file)
    if search.model not in params["models"]:
        raise UserError(
            f"{file}: model: must be a model of params.yaml ({', '.join(params['models'])}), got "
            f"'{search.model}'"
        )
    if search.metric == "micro_f1" and params["dataset"]["task"] == "single":
        raise UserError(
            f"{file}: metric: must be accuracy or loss for one label per image (dataset.task: "
            "single), got micro_f1, which would equal accuracy"
        )
    policies = _used(search, params, "online")
    for section, paths in {"fixed": search.fixed, "space": search.space}.items():
        for path in paths:
            if reason := _refusal(
                path, search.model, policies=policies, sampled=section == "space"
            ):
                raise UserError(f"{file}: {section}.{path}: {reason}")
    try:
        base = _with_epochs(with_values(params, search.fixed), search)
        plan = Plan(file.stem, search, base, packs, "")
        for sampled in corners(search):
            plan.params_of(sampled)
    except UserError as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{file}: {reason}. Correct 'space' or 'fixed'.") from None
    networks = _used(search, params, "network")
    return plan._replace(key=_key(plan, policies=policies, networks=networks))


def _used(search: Search, params: Mapping[str, Any], key: str) -> list[str]:
    """Names that the model's setting `key` has in any trial."""
    path = f"models.{search.model}.{key}"
    if path in search.space:
        return list(search.space[path].choices or [])
    return [search.fixed.get(path, params["models"][search.model][key])]


def _refusal(path: str, model: str, *, policies: list[str], sampled: bool) -> str | None:
    """Explain why a path cannot be searched; None if it can."""
    match path.split("."):
        case ["models", name, _, *_] if name != model:
            return f"belongs to another model than '{model}', which this search trains"
        case ["models", _, "seed"] if sampled:
            return (
                "must be the same in all trials, so that they begin with the same weights; to "
                f"measure how scores vary with it, run dvc exp run --queue -S '{path}=1,2,3'"
            )
        case ["models", _, _, *_]:
            return None
        case ["policies", name, _, *_] if name not in policies:
            return f"belongs to a policy that '{model}' does not use; it uses {', '.join(policies)}"
        case ["train", "launcher"]:
            return "does not apply to trials, each of which runs in one process; use --workers"
        case ["policies", _, _, *_] | ["train", _]:
            return None
        case ["models" | "policies" | "train", *_]:
            return "is a section; name a key of it"
        case [section, *_]:
            return (
                f"{section} belongs to other stages, and a search trains one model on "
                f"data/augmented. To sweep it, run dvc exp run --queue -S '{path}=…,…' (see "
                "docs/SEARCH.md)"
            )
    return None


def _with_epochs(params: dict[str, Any], search: Search) -> dict[str, Any]:
    if search.epochs is None:
        return params
    phases = f"models.{search.model}.phases"
    names = params["models"][search.model].get("phases", {})  # a probe has none
    return with_values(params, {f"{phases}.{name}.epochs": search.epochs for name in names})


def _key(plan: Plan, *, policies: list[str], networks: list[str]) -> str:
    """Hash the search file, params, images, code and torch's version.

    The number of trials is excluded, so that a search can be extended; so are the values of
    params that the search samples, so that the key stays the same after `--apply`.
    """
    train = plan.params["train"]
    precision = choose_precision(train["precision"], choose_device(train["device"]))
    # Longer paths first: they may lie within shorter ones.
    blank = with_blanks(plan.params, sorted(plan.search.space, key=len, reverse=True))
    content = {
        "search": plan.search.model_dump(exclude={"n_trials"}),
        "train": {key: value for key, value in blank["train"].items() if key != "launcher"},
        "precision": precision,
        "model": blank["models"][plan.search.model],
        "policies": {name: blank["policies"][name] for name in policies},
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for path in [*_code(networks), *files_to_hash(plan.packs)]:
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return digest.hexdigest()


def _code(networks: list[str]) -> list[Path]:
    """List each file of code that trials run; networks are loaded by name."""
    roots = [TRIAL, *(PACKAGE / f"networks/{network}.py" for network in networks)]
    return sorted(set().union(*map(code_behind, roots)))


def with_blanks(params: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """Replace the values that a search sets by None."""
    for path in paths:
        params = with_values(params, {path: None})
    return params
