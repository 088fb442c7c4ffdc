"""The table of experiments: all commits, validation scores only, and 120 columns at most."""

import pytest

from classifold.project.experiments import list_experiments
from command_line import classifold, error_of, output_of
from synthetic_clone import Clone

pytestmark = pytest.mark.dvc

PARAMS = """
models:
  mlp: {lr: 1, seed: 1}
  cnn: {lr: 1, seed: 1}
policies:
  none: {steps: [], fill: reflect}
"""
PIPELINE = """
stages:
  score:
    cmd: python score.py
    deps: [score.py]
    params: [models, policies]
    metrics:
    - metrics/models.json: {cache: false}
    - metrics/stack.json: {cache: false}
    - metrics/test.json: {cache: false}
  report:
    cmd: echo report
    deps: [metrics/stack.json]
    params:
    - params.yaml:
"""
SPREAD = {"n": 5, "min": 0.25, "max": 0.75}
SCORE = """
import json
from ruamel.yaml import YAML
models = YAML(typ="safe").load(open("params.yaml"))["models"]
def write(name, content):
    open(f"metrics/{name}.json", "w").write(json.dumps(content))
seeds = {"n": 5, "min": 0.25, "max": 0.75}
write("models", {name: {"validation_accuracy": 0.5 + model["lr"] / 10, "seeds": seeds}
                 for name, model in models.items()})
write("stack", {"validation_accuracy": 0.9 + len(models) / 100})
write("test", {"stack": {"accuracy": 0.123456}})
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("experiments")
    clone = Clone(root)
    (root / "metrics").mkdir()
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "score.py").write_text(SCORE)
    clone.run("git", "init", "-q", "-b", "main")
    clone.run("dvc", "init", "-q")
    clone.repro("-q")
    clone.commit()
    clone.run("dvc", "exp", "run", "-q", "-n", "faster", "-S", "models.mlp.lr=3")
    clone.restore()
    clone.commit()
    clone.run("dvc", "exp", "run", "-q", "-n", "alone", "-S", "~models.cnn")
    many = ",".join(f"{{rotate: {i}}}" for i in range(60))
    steps = f"policies.none.steps=[{many}]"
    clone.run("dvc", "exp", "run", "-n", "waiting", "--queue", "-S", steps)
    return root


def test_experiments_of_all_commits_have_their_own_scores_and_changes(project):
    rows = {row.name: row for row in list_experiments(project)}
    workspace, head, *_ = rows
    assert workspace == "workspace"
    assert head.startswith("main ")
    assert rows[workspace].changes == ["~models.cnn"]
    assert (rows[head].stack, rows[head].changes) == (0.92, [])
    faster, alone, waiting = (rows[name] for name in ("faster", "alone", "waiting"))
    assert faster == ("faster", "success", 0.92, ("mlp", 0.8), SPREAD, ["models.mlp.lr=3"])
    assert alone == ("alone", "success", 0.91, ("mlp", 0.6), SPREAD, ["~models.cnn"])
    # Whatever DVC shows for a run that has not ended, it has no scores.
    assert (waiting.state, waiting.stack, waiting.best_model) == ("queued", None, None)
    assert waiting.changes[0] == "~models.cnn"  # uncommitted changes are part of an experiment
    assert waiting.changes[1].startswith('policies.none.steps=[{"rotate": 0}')


def test_params_that_were_changed_since_the_last_run_have_no_scores(project):
    file = project / "params.yaml"
    before = file.read_text()
    reproduced, *_ = list_experiments(project)
    assert (reproduced.state, reproduced.stack) == ("commit", 0.91)
    try:
        file.write_text(before.replace("lr: 1", "lr: 2"))
        changed, *_ = list_experiments(project)
    finally:
        file.write_text(before)
    assert (changed.state, changed.stack, changed.best_model) == ("changed", None, None)
    assert "models.mlp.lr=2" in changed.changes


@pytest.mark.parametrize("columns", ["120", "300", "80"])
def test_the_table_fits_the_screen_and_shows_no_test_score(project, monkeypatch, columns):
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", columns)
    output = output_of(classifold("experiments"))
    assert max(map(len, output.splitlines())) <= min(int(columns), 120)
    assert "0.1235" not in output
    (line,) = (line for line in output.splitlines() if "faster" in line)
    assert line.split()[:5] == ["faster", "success", "0.9200", "mlp", "0.8000,"]
    if columns != "80":  # there a cell has several lines
        assert "mlp 0.8000, of 5 seeds 0.2500 to 0.7500 models.mlp.lr=3" in " ".join(line.split())


def test_without_a_commit_the_message_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "Run in a Git repository with a commit" in error_of(classifold("experiments"))
