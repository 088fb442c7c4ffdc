"""The metrics in Git are those of a run of the embedded digits, on every kind of processor.

On the processor that made them they are repeated byte for byte; elsewhere sums are rounded
otherwise, and scores may differ by an image or two.
"""

import json
import shutil
from pathlib import Path

import pytest

from classifold.params.reader import read_params
from classifold.project.prerequisites import EMBEDDED
from stages_in_one_process import run_stages
from synthetic_clone import ROOT

MODELS = tuple(read_params("models", path=ROOT / "params.yaml"))
STAGES = (
    *("ingest", "filter", "split", "augment"),
    *(f"{stage} {name}" for stage in ("train", "folds") for name in MODELS),
    *("compare", "stack", "evaluate"),
)


def read_metrics(root: Path, name: str) -> dict:
    return json.loads((root / f"metrics/{name}.json").read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of the digits by the committed params, from the data to the test scores."""
    root = tmp_path_factory.mktemp("digits")
    for name in ("stages", "params.yaml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    (root / "data/raw").mkdir(parents=True)
    shutil.copy(ROOT / EMBEDDED, root / EMBEDDED)
    run_stages(root, STAGES)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ingest", "filter", "split", "augment"])
def test_metrics_of_data_stages_are_the_committed_ones(digits, name):
    assert read_metrics(digits, name) == read_metrics(ROOT, name)


@pytest.mark.slow
@pytest.mark.parametrize("model", [*MODELS, "stack", "majority_baseline"])
def test_test_accuracy_is_within_the_interval_of_the_committed_one(digits, model):
    run, committed = (read_metrics(root, "test")[model] for root in (digits, ROOT))
    lower, upper = committed["accuracy_ci95"]
    assert run["n_images"] == committed["n_images"]
    assert lower <= run["accuracy"] <= upper
    assert set(run) == set(committed)


@pytest.mark.slow
def test_every_listed_model_and_the_stack_have_their_metrics(digits):
    for name in ("models", "stack"):
        run, committed = (read_metrics(root, name) for root in (digits, ROOT))
        assert run.keys() == committed.keys()
