"""Results of searches: the best trial, tables, the page, and params.yaml."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from search_project import LR, NAME, ROOT, SEARCH, TPE, invoke, row, work

from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.params.validation import check_params
from classifold.reporting.search_page import write_search_page
from classifold.search.apply import apply_best, apply_trial
from classifold.search.results import best_of, best_per_choice, importances, write_results
from classifold.search.search_file import Search
from classifold.search.storage import storage_url
from command_line import error_of


def search_of(*optimizers):
    space = {NAME: {"choices": list(optimizers)}, LR: {"low": 0.001, "high": 0.1}}
    return Search.model_validate(SEARCH | {"space": space})


SEARCHED = search_of("adam", "sgd")
ROWS = [
    row(1, 0.5, {NAME: "adam", LR: 0.01}),
    row(2, 0.7, {NAME: "sgd", LR: 0.02}),
    row(3, None, {NAME: "adam", LR: 0.03}, state="pruned", outcome={}),
    row(4, 0.7, {NAME: "adam", LR: 0.04}),
]


def test_the_best_trial_is_the_first_with_the_best_value():
    assert best_of(ROWS, SEARCHED).trial == 2
    assert best_of(ROWS, SEARCHED.model_copy(update={"metric": "loss"})).trial == 1
    assert best_of(ROWS[2:3], SEARCHED) is None


def test_the_best_of_each_choice_by_hand():
    table = best_per_choice(ROWS, SEARCHED)
    assert {c: r.trial for c, r in table[NAME].items()} == {"adam": 4, "sgd": 2}
    assert list(table) == [NAME]


def test_metrics_and_table_by_hand(plan, tmp_path):
    files = {"metrics": tmp_path, "table": tmp_path / "trials.csv"}
    said = write_results(ROWS, plan()._replace(search=SEARCHED), **files)
    assert "trial 2 is the best of 4" in said
    metrics = read_json(tmp_path / "search.json")
    assert metrics.pop("importance").keys() == {NAME, LR}
    assert metrics == {
        "model": "m", "metric": "validation_accuracy", "sampler": "random", "n_trials": 4,
        "n_complete": 3, "n_pruned": 1, "n_failed": 0, "best_value": 0.7, "best_trial": 2,
        "best_epoch": 1, "best_params": {NAME: "sgd", LR: 0.02},
        "best_per_choice": {NAME: {"adam": 0.7, "sgd": 0.7}},
    }  # fmt: skip
    table = read_rows(tmp_path / "trials.csv")
    assert [each["state"] for each in table] == ["complete", "complete", "pruned", "complete"]
    assert table[2]["validation_accuracy"] == ""
    assert [each[LR] for each in table] == ["0.01", "0.02", "0.03", "0.04"]


def test_the_setting_that_decides_has_all_the_importance():
    rates = np.random.default_rng(1).uniform(0.001, 0.1, 40).tolist()
    names = ["adam", "sgd"] * 20
    rows = [row(n, rate * 5, {NAME: names[n], LR: rate}) for n, rate in enumerate(rates)]
    found = importances(rows, SEARCHED)
    assert found[LR] > 0.95
    assert sum(found.values()) == pytest.approx(1)
    constant = [each._replace(value=0.5) for each in rows]
    assert importances(constant, SEARCHED) == importances(rows[:1], SEARCHED) == {}


HOSTILE = "</script><b onclick=alert(1)>&amp;"


def test_the_page_shows_every_trial_works_offline_and_escapes_names(plan, tmp_path):
    found = plan()._replace(search=search_of("adam", HOSTILE), name=HOSTILE)
    failed = {"state": "failed", "failure": HOSTILE, "outcome": {}}
    rows = [*ROWS, row(5, None, {NAME: "adam", LR: 0.05}, **failed)]
    rows[1] = rows[1]._replace(sampled=rows[1].sampled | {NAME: HOSTILE})
    write_search_page(tmp_path / "index.html", rows, found)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert HOSTILE not in page and "<b onclick" not in page
    assert "default-src 'none'" in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', markup)
    charts = dict(re.findall(r'data-chart="(\w+)">(.*?)</script>', page))
    assert set(charts) == {"history", "importance", "slices", "parallel"}
    content = {name: json.loads(text) for name, text in charts.items()}
    assert content["history"]["data"][0]["x"] == [1, 2, 4]
    assert len(content["parallel"]["data"]) == 3
    assert content["parallel"]["data"][-1]["text"].startswith("trial 2: 0.7000")
    # Escaped, since Plotly reads some HTML.
    assert "<b " not in json.dumps(content) and "&lt;b onclick" in json.dumps(content)
    categories = content["slices"]["layout"]["xaxis"]["categoryarray"]
    assert categories == ["adam", "&lt;/script&gt;&lt;b onclick=alert(1)&gt;&amp;amp;"]
    # Of two trials that are equally good the first is the best, wherever it is shown.
    heads = re.findall(r'class=highlighted>\s*<th[^>]*data-value="([^"]*)"', page)
    assert [html.unescape(head) for head in heads] == [HOSTILE, "2"]
    assert markup.count("<tr") == 2 + 1 + 5 + 1  # best of two choices, five trials, two heads


def test_the_best_trial_is_written_into_params_and_nothing_else_changes(plan, tmp_path, params):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    base = "models.mlp."
    space = {
        f"{base}phases.p1.optimizer.lr": {"low": 1e-6, "high": 0.1, "log": True},
        f"{base}batch_size": {"choices": [64, 32]},
        f"{base}arguments.hidden": {"choices": [[255], [64, 32]]},
        f"{base}gradient_clip_norm": {"low": 0.5, "high": 2.0},
    }
    fixed = {f"{base}phases.p1.schedule": {"name": "constant"}, f"{base}online": "none"}
    search = Search.model_validate(SEARCH | {"model": "mlp", "space": space, "fixed": fixed})
    sampled = dict(zip(space, [1.2345678901234568e-05, 64, "[64, 32]", 1.5], strict=True))
    changed = apply_trial(path, row(1, 0.9, sampled), plan()._replace(search=search))
    assert changed == [
        "models.mlp.gradient_clip_norm: not set -> 1.5",
        "models.mlp.arguments.hidden: [255] -> [64, 32]",
        "models.mlp.phases.p1.schedule: {'name': 'plateau', 'factor': 0.316, 'patience': 2} -> "
        "{'name': 'constant'}",
        "models.mlp.phases.p1.optimizer.lr: 0.001 -> 1.2345678901234568e-05",
    ]
    after = path.read_text(encoding="utf-8")
    removed, added = (
        [line for line in first.splitlines() if line not in second.splitlines()]
        for first, second in ((text, after), (after, text))
    )
    # Of the other two lines, other models have the like.
    assert [line.strip() for line in removed] == ["arguments: {hidden: [255], dropout: 0.2}"]
    assert "        optimizer: {name: adam, lr: 0.000012345678901234568}" in added
    assert "    arguments: {hidden: [64, 32], dropout: 0.2}" in added
    lr = check_params(path)["models"]["mlp"]["phases"]["p1"]["optimizer"]["lr"]
    assert lr == sampled[f"{base}phases.p1.optimizer.lr"]
    assert apply_trial(path, row(1, 0.9, sampled), plan()._replace(search=search)) == []
    assert path.read_text(encoding="utf-8") == after


def test_after_apply_the_search_is_the_same_and_has_ended(project):
    root = project(n_trials=2)
    assert invoke(root, "--apply").exit_code == 1
    assert invoke(root).exit_code == 0
    result = invoke(root, "--apply")
    assert result.exit_code == 0
    best = read_json(root / "metrics/search/search.json")
    lr = check_params(root / "params.yaml")["models"]["m"]["phases"]["p1"]["optimizer"]["lr"]
    assert lr == pytest.approx(best["best_params"][LR], abs=1e-6)
    assert f"{LR}: 0.01 -> {lr}" in result.output
    assert "2 of 2 trials have ended" in invoke(root).output
    assert "has these values already" in invoke(root, "--apply").output


def test_a_search_without_a_complete_trial_cannot_be_applied(plan, tmp_path):
    url = storage_url(None, default=tmp_path / "s.sqlite3")
    with pytest.raises(UserError, match=r"search: no trial .*is complete"):
        apply_best(tmp_path / "params.yaml", plan(), url=url)


def test_the_command_reports_each_mistake_in_one_message(project, tmp_path):
    root = project(space={LR: {"low": 1}})
    result = invoke(root)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("search.yaml")
    (root / "search.yaml").unlink()
    assert "search.yaml: no such file" in invoke(root).stderr
    shutil.rmtree(root / "data")
    assert "'dvc repro augment'" in invoke(root).stderr


def test_torchrun_is_refused(project):
    assert "without torchrun" in error_of(invoke(project(), WORLD_SIZE="2"))


@pytest.mark.slow
def test_the_command_line_starts_without_optuna_and_optuna_logs_nothing(project):
    loaded = "import sys, classifold.cli.app; print({'optuna', 'torch'} & set(sys.modules))"
    assert work(["-c", loaded], ROOT).stdout == "set()\n"
    command = ["-W", "error", "-m", "classifold", "search", "search.yaml"]
    done = work(command, project(**TPE | {"epochs": 1}))
    assert done.stderr == ""
    assert "ExperimentalWarning" not in done.stdout and "[I 20" not in done.stdout
