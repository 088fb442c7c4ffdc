"""The metrics in Git are those of the code, params and data in Git, on every kind of processor.

DVC compares them by their hashes. Then the data stages and the cheapest networks run again, for
five epochs: by then their scores are within the intervals of the committed ones.
"""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.data.json_file import read_json
from classifold.params.reader import read_params
from classifold.project.prerequisites import EMBEDDED
from stages_in_one_process import run_stages
from synthetic_clone import ROOT, Clone, copy_clone, stages_run

MODELS = tuple(read_params("models", path=ROOT / "params.yaml"))
TRAINED = ("mlp", "initial_cnn")
STAGES = (
    *("ingest", "filter", "split", "augment"),
    *(f"{stage} {name}" for stage in ("train", "folds") for name in TRAINED),
    *("compare", "stack", "evaluate"),
)


def read_metrics(root: Path, name: str) -> dict:
    return read_json(root / f"metrics/{name}.json")


@pytest.mark.dvc
def test_no_stage_has_to_run_again_for_the_committed_metrics(tmp_path):
    copy_clone(tmp_path)
    shutil.copy(ROOT / "dvc.lock", tmp_path)
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    clone = Clone(tmp_path)
    clone.run("git", "init", "-q")
    dry = ("--dry", "--allow-missing")
    output = clone.repro(*dry, expect=None)
    stale = stages_run(output)
    assert not stale, f"run 'dvc repro', and commit dvc.lock and metrics: {stale} changed"
    assert "Stage 'stack' didn't change" in output
    (tmp_path / "metrics/stack.json").write_text("{}")
    assert "Stage 'stack' didn't change" not in clone.repro(*dry, expect=None)


def test_every_listed_model_has_its_committed_scores():
    assert set(read_metrics(ROOT, "models")) == {*MODELS, "majority_baseline"}
    assert set(read_metrics(ROOT, "test")) == {*MODELS, "stack", "majority_baseline"}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of the digits by the committed params, from data to test scores, with few epochs."""
    root = tmp_path_factory.mktemp("digits")
    shutil.copytree(ROOT / "stages", root / "stages")
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["train"]["threads"] = 1  # two take twice the processor time
    params["models"] = {name: params["models"][name] for name in TRAINED}
    params["limit"]["epochs"] = 5
    yaml.dump(params, root / "params.yaml")
    (root / "data/raw").mkdir(parents=True)
    shutil.copy(ROOT / EMBEDDED, root / EMBEDDED)
    run_stages(root, STAGES)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ingest", "filter", "split", "augment"])
def test_metrics_of_data_stages_are_the_committed_ones(digits, name):
    assert read_metrics(digits, name) == read_metrics(ROOT, name)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*TRAINED, "majority_baseline"])
def test_test_accuracy_is_within_the_interval_of_the_committed_one(digits, model):
    run, committed = (read_metrics(root, "test")[model] for root in (digits, ROOT))
    lower, upper = committed["accuracy_ci95"]
    assert lower <= run["accuracy"] <= upper
    assert (run["n_images"], set(run)) == (committed["n_images"], set(committed))
