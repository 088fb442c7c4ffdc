"""Fixtures of the tests of searches."""

import copy

import pytest
from ruamel.yaml import YAML
from search_project import MODEL, ROOT, SEARCH, dump

from classifold.search import trial as trial_module
from classifold.search.plan import make_plan
from interruptions import bits_of


@pytest.fixture
def params():
    """The project's params with one tiny model, computed the same everywhere."""
    content = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["models"] = {"m": copy.deepcopy(MODEL)}
    content["explain"]["model"] = "m"
    content["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
    return content


@pytest.fixture
def project(tmp_path, params, write_packs):
    """A folder with packs, `params.yaml` and `search.yaml`; changes are of the search."""

    def make(name="project", **changes):
        root = tmp_path / name
        write_packs(root / "data/augmented", train=32, validation=24)
        dump(root / "params.yaml", params)
        dump(root / "search.yaml", SEARCH | changes)
        return root

    return make


@pytest.fixture
def plan(project, params):
    """The plan of a search with changes."""

    def make(name="project", **changes):
        root = project(name, **changes)
        return make_plan(root / "search.yaml", params, packs=root / "data/augmented")

    return make


@pytest.fixture
def weights(monkeypatch):
    """The weights of every network before and after it is trained in a trial."""
    seen = []
    fit = trial_module.fit

    def spy(network, *arguments, **settings):
        before = bits_of(network)
        fitted = fit(network, *arguments, **settings)
        seen.append((before, bits_of(network)))
        return fitted

    monkeypatch.setattr(trial_module, "fit", spy)
    return seen
