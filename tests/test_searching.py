"""Searches: the space, trials, resuming, sharing between workers, storages and results."""

import contextlib
import copy
import html
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

import tiny_model
from classifold.cli.app import app
from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.params.validation import check_params
from classifold.reporting.search_page import write_search_page
from classifold.runtime.source_code import PACKAGE, code_behind
from classifold.search import plan as plan_module
from classifold.search import trial as trial_module
from classifold.search import worker
from classifold.search.apply import apply_best, apply_trial
from classifold.search.plan import make_plan
from classifold.search.results import (
    Row,
    best_of,
    best_per_choice,
    importances,
    search_metrics,
    write_results,
)
from classifold.search.samplers import sampler_of
from classifold.search.search_file import Search, read_search
from classifold.search.space import (
    cells,
    corners,
    distributions,
    format_values,
    n_trials,
    short_names,
    values_of,
    with_values,
)
from classifold.search.storage import open_search, storage_url
from classifold.search.trial import run_trial
from classifold.search.worker import run_search

ROOT = Path(__file__).parents[1]
SEARCHES = sorted((ROOT / "studies/search/searches").glob("*.yaml"))
LR = "models.m.phases.p1.optimizer.lr"
NAME = "models.m.phases.p1.optimizer.name"
BATCH = "models.m.batch_size"
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())  # where Debian puts it

MODEL = tiny_model.MODEL | {
    "arguments": {"hidden": [8], "dropout": 0.1},
    "phases": {"p1": tiny_model.PHASE | {"epochs": 9}},
}
SEARCH = {
    "model": "m",
    "metric": "accuracy",
    "epochs": 2,
    "n_trials": 4,
    "sampler": {"name": "random", "seed": 1},
    "pruner": {"name": "none"},
    "fixed": {},
    "space": {LR: {"low": 0.0001, "high": 0.1, "log": True}},
}
GRID = {"sampler": {"name": "grid"}, "n_trials": None}


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


def dump(path, content):
    buffer = io.StringIO()
    YAML(typ="safe", pure=True).dump(content, buffer)
    path.write_text(buffer.getvalue(), encoding="utf-8")


def run(plan, file, *, n_workers=1):
    return run_search(plan, url=storage_url(None, default=file), n_workers=n_workers)


def all_trials(storage, beginning="search"):
    """All trials, interrupted ones too, of the studies whose names have this beginning."""
    url = storage_url(None, default=storage) if isinstance(storage, Path) else storage
    opened = optuna.storages.RDBStorage(url.render_as_string(hide_password=False))
    try:
        names = [n for n in optuna.get_all_study_names(opened) if n.startswith(beginning)]
        return [t for n in names for t in optuna.load_study(study_name=n, storage=opened).trials]
    finally:
        opened.remove_session()
        opened.engine.dispose()


def row(trial, value, sampled, **changes):
    outcome = {"validation_accuracy": value, "best_epoch": 1, "train_accuracy": 0.5}
    defaults = {"state": "complete", "outcome": outcome, "n_epochs": 2, "seconds": 1.5}
    return Row(
        **defaults | {"trial": trial, "value": value, "sampled": sampled, "failure": ""} | changes
    )


# ---------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("file", SEARCHES, ids=lambda file: file.stem)
def test_every_search_file_is_valid_for_the_projects_params(file, tmp_path, write_packs):
    write_packs(tmp_path, train=4, validation=4)
    found = make_plan(file, check_params(ROOT / "params.yaml"), packs=tmp_path)
    assert found.n_trials >= 3


def test_table_1_is_a_random_search_of_four_optimizers_over_rates_as_in_the_report():
    search = read_search(ROOT / "studies/search/searches/alphanet_table_1.yaml")
    (name, lr) = search.space.values()
    assert set(name.choices) == {"adam", "rmsprop", "adadelta", "sgd"}
    assert (lr.low, lr.high) == (0.0001, 0.01)
    assert (search.sampler.name, search.epochs) == ("random", 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": "m"}, "modle: unknown key.*model"),
        ({"metric": "f1"}, "metric: must be .*got .f1"),
        ({"n_trials": 0}, "n_trials: .*got 0"),
        ({"n_trials": None}, "n_trials .*sampler random, got null"),
        ({"sampler": {"name": "cma", "seed": 1}}, "sampler.name: .*'random', 'tpe'"),
        ({"sampler": {"name": "random"}}, "sampler.seed: missing"),
        (
            {"pruner": {"name": "median", "n_warmup_steps": 1}},
            "n_startup_trials: missing",
        ),
        ({"space": {}}, "space: "),
        ({"space": {LR: {}}}, f"space.{LR}: needs choices: .*, or low and high"),
        ({"space": {LR: {"low": 1.0}}}, f"space.{LR}: needs choices: .*, or low and high"),
        ({"space": {LR: {"low": 2, "high": 1}}}, "low .*high, got 2 and 1"),
        (
            {"space": {LR: {"low": 0, "high": 1, "log": True}}},
            "low above 0, got 0",
        ),
        ({"space": {LR: {"low": 1, "high": 4, "step": 0.5}}}, "step .*integer, got 0.5; write low"),
        (
            {"space": {LR: {"low": 1, "high": 4, "step": 2}}},
            "multiple of step, got 1, 4 and 2",
        ),
        ({"space": {LR: {"choices": [1, 2], "low": 1}}}, "choices .*got low"),
        ({"space": {LR: {"choices": [1, 2, 1]}}}, "choices must differ.*got .1, 2, 1"),
        ({"fixed": {LR: 1.0}}, f"fixed.{LR}: is in space, too"),
        (
            GRID | {"n_trials": 3, "space": {LR: {"choices": [0.1]}}},
            "n_trials .*sampler grid, got 3",
        ),
        (GRID, f"space.{LR}: sampler grid needs choices.*got a range"),
        (
            {
                "metric": "loss",
                "space": {"models.m.loss.label_smoothing": {"low": 0.0, "high": 0.1}},
            },
            "metric: loss cannot .*accuracy or micro_f1",
        ),
    ],
)
def test_an_invalid_file_is_refused_with_one_message(project, params, changes, message):
    root = project(**changes)
    with pytest.raises(UserError, match=f"(?s)search.yaml.*{message}"):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "n"}, "model: .*params.yaml .m., got 'n'"),
        ({"metric": "micro_f1"}, "metric: must be accuracy or loss .*got micro_f1"),
        (
            {"space": {"augment.size": {"choices": [8, 16]}}},
            "space.augment.size: augment belongs to other stages.*dvc exp run --queue -S "
            "'augment.size=…,…'",
        ),
        ({"fixed": {"split.seed": 3}}, "fixed.split.seed: split belongs to other stages"),
        ({"space": {"stack.method": {"choices": ["mean"]}}}, "stack belongs to other stages"),
        ({"space": {"models.n.batch_size": {"choices": [8]}}}, "another model than 'm'"),
        ({"space": {"models.m.seed": {"choices": [1, 2]}}}, "seed: must be the same in all trials"),
        ({"space": {"models.m": {"choices": [{}]}}}, "models.m: is a section; name a key"),
        ({"fixed": {"train.launcher": "auto"}}, "train.launcher: does not apply.*--workers"),
        (
            {"space": {"policies.crop.fill": {"choices": ["edge"]}}},
            "policies.crop.fill: .*it uses none",
        ),
        (
            {"space": {"models.m.phases.p2.epochs": {"choices": [1]}}},
            "models.m.phases.p2: no such key. Use one of p1. Correct 'space' or 'fixed'",
        ),
        (
            {"space": {"models.m.seed.x": {"choices": [1]}}},
            "models.m.seed.x: no such key, .* got 1",
        ),
        (
            {"space": {"models.m.arguments.hidden.3": {"choices": [1]}}},
            "hidden.3: no such key.* 0",
        ),
        (
            {"space": {LR: {"low": -0.1, "high": 0.1}}},
            f"with the values optimizer.lr -0.1: {LR}: .*got -0.1",
        ),
        (
            {"space": {NAME: {"choices": ["adam", "lion"]}}},
            "with the values optimizer.name lion: models.m.phases.p1.optimizer.name: ",
        ),
        (
            {"space": {"models.m.arguments.width": {"choices": [1]}}},
            "models.m.arguments.width: unknown key",
        ),
        ({"fixed": {BATCH: 1}}, "models.m.batch_size: .*got 1"),
    ],
)
def test_settings_that_cannot_be_searched_are_refused_before_training(
    project, params, changes, message
):
    root = project(**changes)
    with pytest.raises(UserError, match=f"search.yaml: .*{message}"):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


def test_a_value_that_is_invalid_in_one_cell_of_a_grid_is_found(project, params):
    min_lr = "models.m.phases.p1.schedule.min_lr"
    schedule = {"name": "cyclical", "min_lr": 0.001, "step_size": 4}
    root = project(
        **GRID,
        fixed={"models.m.phases.p1.schedule": schedule},
        space={LR: {"choices": [0.1, 0.001]}, min_lr: {"choices": [0.0001, 0.01]}},
    )
    with pytest.raises(UserError, match=r"with optimizer.lr 0.001, schedule.min_lr 0.01: "):
        make_plan(root / "search.yaml", params, packs=root / "data/augmented")


# ---------------------------------------------------------------------------------- the space


def test_values_are_set_at_their_paths_and_other_values_stay():
    content = {"a": {"b": [1, {"c": 2}]}, "d": 3}
    before = copy.deepcopy(content)
    changed = with_values(content, {"a.b.1.c": 5, "a.new": [6], "d": {"e": 7}, "d.e": 8})
    assert changed == {"a": {"b": [1, {"c": 5}], "new": [6]}, "d": {"e": 8}}
    assert content == before


def test_the_cells_of_a_grid_by_hand():
    search = Search.model_validate(
        SEARCH | GRID | {"space": {"a.b": {"choices": [1, 2]}, "c.d": {"choices": ["x", [3]]}}}
    )
    assert n_trials(search) == 4
    assert [tuple(cell.values()) for cell in cells(search)] == [
        (1, "x"), (1, "[3]"), (2, "x"), (2, "[3]"),
    ]  # fmt: skip
    assert values_of(cells(search)[3], search) == {"a.b": 2, "c.d": [3]}


def test_a_range_is_of_integers_if_both_ends_are():
    space = {
        "a": {"low": 1, "high": 9, "step": 4},
        "b": {"low": 1, "high": 9.0},
        "c": {"low": 2, "high": 64, "log": True},
    }
    found = distributions(Search.model_validate(SEARCH | {"space": space}))
    assert found["a"] == optuna.distributions.IntDistribution(1, 9, step=4)
    assert found["b"] == optuna.distributions.FloatDistribution(1.0, 9.0)
    assert found["c"] == optuna.distributions.IntDistribution(2, 64, log=True)


def test_corners_have_every_choice_and_both_ends_by_hand():
    space = {"a.x": {"choices": [1, 2, 3]}, "a.y": {"low": 0.1, "high": 0.2}}
    found = corners(Search.model_validate(SEARCH | {"space": space}))
    pairs = [(sampled["a.x"], sampled["a.y"]) for sampled in found]
    assert pairs == [(1, 0.1), (2, 0.1), (3, 0.1), (1, 0.2)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([LR, BATCH], ["optimizer.lr", "batch_size"]),
        (["models.m.phases.p1.epochs", "models.m.phases.p2.epochs"], ["p1.epochs", "p2.epochs"]),
        (
            ["models.m.phases.p1.optimizer.lr", "models.m.phases.p2.optimizer.lr"],
            ["p1.optimizer.lr", "p2.optimizer.lr"],
        ),
        (["policies.crop.fill"], ["crop.fill"]),
    ],
)
def test_short_names_are_distinct(paths, names):
    assert list(short_names(paths).values()) == names


def test_sampled_values_are_formatted_with_short_names():
    assert format_values({LR: 0.00123456, BATCH: 8}) == "optimizer.lr 0.001235, batch_size 8"


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_the_values_of_a_trial_depend_on_the_seed_and_its_number_alone(name):
    sampler = {"name": name, "seed": 4} | ({"n_startup_trials": 50} if name == "tpe" else {})
    search = Search.model_validate(SEARCH | {"sampler": sampler})
    study = optuna.create_study()

    def sample(number):
        study.sampler = sampler_of(search, number)
        return study.ask(distributions(search)).params[LR]

    sampled = [sample(number) for number in range(1, 41)]
    assert [sample(number) for number in (7, 3, 40)] == [sampled[6], sampled[2], sampled[39]]
    assert len(set(sampled)) == 40
    # Uniform in the logarithm: half of the values in [1e-4, 1e-1] are below the geometric mean.
    assert 10 <= sum(value < 10**-2.5 for value in sampled) <= 30


# ---------------------------------------------------------------------------------- one trial


@pytest.fixture
def weights(monkeypatch):
    """The weights of every network before and after it is trained in a trial."""
    seen = []
    fit = trial_module.fit

    def spy(network, *arguments, **settings):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fitted = fit(network, *arguments, **settings)
        seen.append((before, {n: v.clone() for n, v in network.state_dict().items()}))
        return fitted

    monkeypatch.setattr(trial_module, "fit", spy)
    return seen


def equal(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_all_trials_begin_with_the_same_weights_and_end_with_different_ones(
    plan, tmp_path, weights
):
    space = {NAME: {"choices": ["adam", "sgd"]}, LR: {"choices": [0.01, 0.1]}}
    space["models.m.arguments.dropout"] = {"choices": [0.0, 0.5]}
    run(plan(**GRID, space=space), tmp_path / "s.sqlite3")
    assert len(weights) == 8
    assert all(equal(before, weights[0][0]) for before, _ in weights)
    assert not any(equal(after, weights[0][1]) for _, after in weights[1:])


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_trial_after_others_gives_the_same_bits_as_alone(plan, tmp_path, weights, ema_decay):
    space = {NAME: {"choices": ["adam", "rmsprop", "sgd"]}, BATCH: {"choices": [4, 16]}}
    found = plan(**GRID, space=space, fixed={"models.m.ema_decay": ema_decay})
    rows = run(found, tmp_path / "s.sqlite3")
    after_others = [after for _, after in weights]
    torch.manual_seed(99)
    np.random.seed(99)
    for number in (5, 2):
        cell = cells(found.search)[number - 1]
        outcome = run_trial(found.params_of(cell), "m", packs=found.packs)
        assert equal(weights[-1][1], after_others[number - 1])
        assert outcome.validation.accuracy == rows[number - 1].value
        assert round(outcome.validation.loss, 6) == rows[number - 1].outcome["validation_loss"]


@pytest.mark.slow
def test_the_value_of_a_trial_is_the_score_that_the_stage_train_writes(plan, tmp_path, params):
    found = plan(n_trials=1, epochs=3)
    (only,) = run(found, tmp_path / "s.sqlite3")
    root = found.packs.parents[1]
    dump(root / "params.yaml", found.params_of(only.sampled))
    work([ROOT / "stages/train.py", "m"], root)
    metrics = read_json(root / "metrics/train/m.json")
    assert round(only.value, 6) == metrics["validation_accuracy"]
    assert only.outcome["validation_loss"] == metrics["validation_loss"]
    assert only.outcome["best_epoch"] == metrics["best_epoch"]
    assert only.n_epochs == metrics["n_epochs"] == 3


def test_epochs_are_those_of_the_search_or_of_params(plan, tmp_path):
    assert run(plan(n_trials=1), tmp_path / "a.sqlite3")[0].n_epochs == 2
    assert run(plan(n_trials=1, epochs=None), tmp_path / "b.sqlite3")[0].n_epochs == 9


def test_a_trial_that_diverges_fails_with_a_reason_and_the_search_continues(plan, tmp_path):
    found = plan(**GRID, space={LR: {"choices": [0.01, 1e30, 0.02]}}, fixed={NAME: "sgd"})
    rows = run(found, tmp_path / "s.sqlite3")
    assert [each.state for each in rows] == ["complete", "failed", "complete"]
    assert rows[1].failure.startswith("models.m.phases.p1.optimizer.lr: the loss in epoch 1, step ")
    assert rows[1].value is None
    metrics = search_metrics(rows, found)
    assert (metrics["n_complete"], metrics["n_pruned"], metrics["n_failed"]) == (2, 0, 1)


def test_an_invalid_combination_of_values_fails_its_trial_alone(plan, tmp_path):
    # Each is valid beside the lowest value of the other, but min_lr must be below lr.
    space = {
        LR: {"low": 0.04, "high": 0.06},
        "models.m.phases.p1.schedule.min_lr": {"low": 0.0001, "high": 0.039},
    }
    schedule = {"name": "cyclical", "min_lr": 0.001, "step_size": 4}
    found = plan(n_trials=2, space=space, fixed={"models.m.phases.p1.schedule": schedule})
    assert all(each.state == "complete" for each in run(found, tmp_path / "s.sqlite3"))
    bad = {LR: 0.04, "models.m.phases.p1.schedule.min_lr": 0.05}
    with pytest.raises(UserError, match=r"lr 0.04, .*min_lr 0.05: .*min_lr: must be <"):
        found.params_of(bad)


def test_if_no_trial_is_complete_the_files_give_the_reasons(plan, tmp_path):
    found = plan(**GRID, space={LR: {"choices": [1e30, 1e31]}}, fixed={NAME: "sgd"})
    rows = run(found, tmp_path / "s.sqlite3")
    with pytest.raises(UserError, match=r"no trial of search is complete; .*the loss"):
        write_results(rows, found, metrics=tmp_path, table=tmp_path / "trials.csv")
    assert read_json(tmp_path / "search.json")["best_value"] is None
    assert ["the loss" in each["failure"] for each in read_rows(tmp_path / "trials.csv")] == [
        True
    ] * 2
    write_search_page(tmp_path / "index.html", rows, found)
    assert "No trial was completed" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1},
        {"name": "hyperband", "min_resource": 1, "reduction_factor": 2},
    ],
    ids=lambda pruner: pruner["name"],
)
def test_trials_that_do_not_learn_are_pruned(plan, tmp_path, pruner):
    rates = [0.02, 0.03, 0.04, 0.02001, 1e-9, 1.1e-9, 1.2e-9, 1.3e-9]
    found = plan(**GRID, epochs=6, metric="loss", pruner=pruner, space={LR: {"choices": rates}})
    # Optuna assigns trials to Hyperband's brackets by the study's name, which holds the key. The
    # key depends on the code: with another one, good and bad trials may not meet in any bracket.
    rows = run(found._replace(key="0" * 64), tmp_path / "s.sqlite3")
    pruned = [each for each in rows if each.state == "pruned"]
    assert pruned
    assert all(each.n_epochs < 6 and each.value is None for each in pruned)
    assert any(each.sampled[LR] < 1e-8 for each in pruned)
    assert all(each.n_epochs == 6 for each in rows if each.state == "complete")
    if pruner["name"] == "median":  # after the second epoch all of them are worse than the median
        assert [each.trial for each in pruned if each.sampled[LR] < 1e-8] == [5, 6, 7, 8]


# ---------------------------------------------------------------------------------- resuming


def work(arguments, root, **environment):
    """A command of the project, from its folder."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        check=True,
        capture_output=True,
        text=True,
    )


DATABASE = ".cache/searches/search.sqlite3"
SEARCH_COMMAND = ["-m", "classifold", "search", "search.yaml"]
TPE = {
    "epochs": 60,
    "n_trials": 6,
    "sampler": {"name": "tpe", "seed": 1, "n_startup_trials": 3},
    "space": {LR: SEARCH["space"][LR], BATCH: {"choices": [4, 8, 16]}},
}


def start(root, *options, **environment):
    return subprocess.Popen(
        [sys.executable, *SEARCH_COMMAND, *options],
        cwd=root,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(beginning, process):
    """Read the output of a process up to a line with this beginning."""
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith(beginning):
            return output
    pytest.fail(f"ended before {beginning!r}: {output}")


def kill_at(beginning, process):
    """Kill the process, and no other, after a line of output with this beginning."""
    read_until(beginning, process)
    process.kill()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL


def invoke(root, *arguments, **environment):
    """The command in this process."""
    with contextlib.chdir(root):
        return CliRunner().invoke(app, ["search", "search.yaml", *arguments], env=environment)


def results_of(root):
    """The outputs of a search, without times."""
    table = read_rows(root / "reports/search/search/trials.csv")
    for each in table:
        del each["seconds"]
    return (root / "metrics/search/search.json").read_bytes(), table


@pytest.mark.slow
def test_a_search_that_is_killed_and_resumed_has_the_same_results(project):
    whole, killed = project("whole", **TPE), project("killed", **TPE)
    assert invoke(whole).exit_code == 0
    kill_at("  trial 5 of 6", start(killed))
    assert not (killed / "metrics").exists()

    output = invoke(killed).output
    assert "search: 4 of 6 trials have ended" in output
    assert "trial 4 of 6" not in output and "trial 5 of 6" in output
    # The values of later trials depend on the results of earlier ones.
    assert results_of(killed) == results_of(whole)
    states = [trial.state.name for trial in all_trials(killed / DATABASE)]
    assert states == ["COMPLETE"] * 4 + ["FAIL"] + ["COMPLETE"] * 2
    assert "6 of 6 trials have ended" in invoke(killed).output


@pytest.mark.slow
def test_workers_end_with_their_parent_and_the_rest_of_a_grid_is_run_once(project):
    space = {LR: {"choices": [0.01, 0.02, 0.03]}, BATCH: {"choices": [4, 8, 16]}}
    alone, shared = (project(name, **GRID, space=space, epochs=40) for name in ("alone", "shared"))
    assert invoke(alone).exit_code == 0
    process = start(shared, "--workers", "2")
    kill_at("  trial 4 of 9", process)
    deadline = time.monotonic() + 60
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        pytest.fail("workers are left")

    assert invoke(shared, "--workers", "2").exit_code == 0
    complete = [t for t in all_trials(shared / DATABASE) if t.state.name == "COMPLETE"]
    assert len(complete) == len({tuple(sorted(trial.params.items())) for trial in complete}) == 9
    assert results_of(shared) == results_of(alone)


@pytest.mark.slow
def test_separate_processes_share_the_trials_and_report_the_same_results(project):
    root = project(n_trials=7, epochs=40)
    processes = [start(root) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    trials = all_trials(root / DATABASE)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 7
    assert sorted(trial.user_attrs["trial"] for trial in trials) == list(range(1, 8))
    assert len({text.splitlines()[-1] for text in outputs}) == 1  # the same best trial


def test_a_trial_that_another_process_runs_is_not_started(plan, tmp_path, monkeypatch):
    found, file = plan(n_trials=3), tmp_path / "s.sqlite3"
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_POLLS", 0.01)
    naps = []
    with (
        open_search(found, storage_url(None, default=file)) as opened,
        contextlib.ExitStack() as held,
    ):
        held.enter_context(opened.locks.take("trial-2"))

        def release(_):
            naps.append(len(all_trials(file)))
            held.close()

        monkeypatch.setattr(worker.time, "sleep", release)
        rows = run(found, file)
    assert naps == [2]  # all but the one that was held
    assert [each.trial for each in rows] == [1, 2, 3]
    numbers = [trial.user_attrs["trial"] for trial in all_trials(file)]
    assert numbers == [1, 3, 2]


def test_more_trials_extend_a_search_and_another_space_begins_a_new_one(plan, tmp_path):
    file = tmp_path / "s.sqlite3"
    two = run(plan(n_trials=2), file)
    three = run(plan(n_trials=3), file)
    assert [each.sampled for each in three[:2]] == [each.sampled for each in two]
    assert len(all_trials(file)) == 3
    run(plan(n_trials=2, space={LR: {"low": 0.001, "high": 0.1, "log": True}}), file)
    assert len(all_trials(file)) == 5
    assert [each.sampled for each in run(plan(n_trials=2), file)] == [each.sampled for each in two]


def test_the_key_depends_on_the_params_that_trials_use_alone(plan, params, write_packs):
    key = plan().key
    assert plan(n_trials=50).key == key
    assert plan(epochs=3).key != key
    assert plan(metric="loss").key != key
    params["models"]["m"]["phases"]["p1"]["optimizer"]["lr"] = 0.5  # which the search sets
    params["policies"]["crop"]["fill"] = "edge"  # which the model does not use
    params["split"]["seed"] += 1
    params["train"]["launcher"] = "none"  # a trial is trained in one process
    assert plan().key == key
    params["models"]["m"]["batch_size"] = 16
    assert plan().key != key


def test_the_key_depends_on_the_code_that_trials_use_alone(project, params, tmp_path, monkeypatch):
    copied = tmp_path / "classifold"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(
        plan_module,
        "code_behind",
        lambda file: {copied / each.relative_to(PACKAGE) for each in code_behind(file)},
    )
    root = project(
        space=SEARCH["space"] | {"models.m.network": {"choices": ["mlp", "initial_cnn"]}}
    )

    def key():
        return make_plan(root / "search.yaml", params, packs=root / "data/augmented").key

    before, changing = key(), set()
    for file in copied.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(f"{text}\n", encoding="utf-8")
        if key() != before:
            changing.add(file.relative_to(copied).as_posix())
        file.write_text(text, encoding="utf-8")
    assert key() == before
    assert changing >= {
        "search/trial.py", "search/samplers.py", "search/space.py", "training/loop.py",
        "training/losses.py", "augmentation/online/policy.py", "models/inference.py",
        "data/pack.py", "networks/mlp.py", "networks/initial_cnn.py",
    }  # fmt: skip
    imported = {name.split("/")[0] for name in changing}
    assert imported <= {
        "search",
        "training",
        "augmentation",
        "models",
        "networks",
        "data",
        "params",
    }
    unused = {"plan", "storage", "worker", "results", "apply", "lr_finder"}
    assert not changing & {f"search/{name}.py" for name in unused}
    assert "networks/alphanet.py" not in changing


def test_other_images_begin_a_new_search(project, params, write_packs):
    root = project()
    packs = root / "data/augmented"
    key = make_plan(root / "search.yaml", params, packs=packs).key
    shutil.rmtree(packs)
    write_packs(packs, train=33, validation=24)
    assert make_plan(root / "search.yaml", params, packs=packs).key != key


# ---------------------------------------------------------------------------------- storages


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("search.sqlite3", "--storage: .*sqlite:///<file> or postgresql://"),
        ("mysql://u:secret@host/db", "--storage: .*begins with mysql:"),
        ("sqlite://", "--storage: .*begins with sqlite:"),
        ("postgresql://u:secret@host:port/db", "--storage: .*postgresql://"),
    ],
)
def test_unknown_storages_are_refused_without_showing_the_password(given, message):
    with pytest.raises(UserError, match=message) as refused:
        storage_url(given, default=Path("s.sqlite3"))
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_a_database_is_reported_without_a_traceback(project):
    root = project()
    (root / "s.sqlite3").write_text("something else, and long enough to be no database at all")
    result = invoke(root, "--storage", "sqlite:///s.sqlite3")
    assert result.exit_code == 1
    assert re.search("sqlite:///s.sqlite3: .*file is not a database", result.stderr)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The URL of a PostgreSQL server that ends with the tests."""
    if not (POSTGRES / "initdb").is_file():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = Path("/tmp") / f"classifold-postgres-{os.getpid()}"
    folder.mkdir()
    user = []
    if os.getuid() == 0:  # it refuses to run as root
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    (folder / "password").write_text("top-secret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(
        [*user, POSTGRES / "initdb", "-D", folder / "data", "-U", "seeker", "-A", "scram-sha-256",
         "--pwfile", folder / "password", "--no-sync"],
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    server = subprocess.Popen(
        [*user, POSTGRES / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder,
         "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"],
        stderr=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip
    try:
        for _ in range(300):
            ready = [POSTGRES / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        yield f"postgresql://seeker:top-secret@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        server.wait(30)
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_search_in_postgresql_that_is_killed_and_resumed_has_the_results_of_sqlite(
    project, postgres
):
    """The password is in the environment, and in no output."""
    alone, killed = project("alone", **TPE), project("killed", **TPE)
    assert invoke(alone).exit_code == 0
    environment = {"CLASSIFOLD_SEARCH_STORAGE": postgres}
    kill_at("  trial 3 of 6", start(killed, **environment))
    output = invoke(killed, **environment).output
    assert "search: 2 of 6 trials have ended" in output
    assert results_of(killed) == results_of(alone)
    assert not (killed / DATABASE).exists()
    written = [path for path in killed.rglob("*") if path.is_file()]
    assert len(written) > 6
    assert not [path for path in written if b"top-secret" in path.read_bytes()]
    assert "top-secret" not in output


@pytest.mark.slow
def test_workers_share_a_grid_in_postgresql(project, postgres):
    space = {LR: {"choices": [0.01, 0.02]}, BATCH: {"choices": [4, 8, 16]}}
    root = project(**GRID, space=space, epochs=40)
    (root / "search.yaml").rename(root / "shared.yaml")
    with contextlib.chdir(root):
        result = CliRunner().invoke(
            app, ["search", "shared.yaml", "--storage", postgres, "--workers", "2"]
        )
    assert result.exit_code == 0
    trials = all_trials(storage_url(postgres, default=root), "shared")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 6


@pytest.mark.slow
def test_a_worker_in_postgresql_takes_over_the_trial_of_one_that_was_killed(project, postgres):
    """Each in a folder of its own, as on two machines."""
    alone, left, lost = (project(name, n_trials=5, epochs=20) for name in ("alone", "left", "lost"))
    assert invoke(alone).exit_code == 0
    environment = {"CLASSIFOLD_SEARCH_STORAGE": postgres}
    killed = start(lost, **environment)
    read_until("  trial 1 of 5", killed)
    killed.send_signal(signal.SIGSTOP)  # in the middle of its trial, for as long as it takes
    others = start(left, **environment)
    output = read_until("  waiting for trials of other workers: 1\n", others)
    assert "  trial 5 of 5" in output
    killed.kill()
    killed.stdout.close()
    assert killed.wait() == -signal.SIGKILL
    output = others.communicate(timeout=300)[0]
    assert output.startswith("  trial 1 of 5")
    assert others.returncode == 0
    assert results_of(left) == results_of(alone)
    trials = all_trials(storage_url(postgres, default=left))
    mine = [trial.state.name for trial in trials if trial.params in parameters_of(alone)]
    assert sorted(mine) == ["COMPLETE"] * 5 + ["FAIL"]


def parameters_of(root):
    return [trial.params for trial in all_trials(root / DATABASE)]


def test_a_wrong_password_is_reported_but_not_shown(project, postgres):
    result = invoke(
        project(),
        CLASSIFOLD_SEARCH_STORAGE=postgres.replace("top-secret", "mistaken"),
    )  # fmt: skip
    assert result.exit_code == 1
    assert "password authentication failed" in result.stderr
    assert "seeker:***@127.0.0.1" in result.stderr
    assert "mistaken" not in result.output


# ---------------------------------------------------------------------------------- results


SEARCHED = Search.model_validate(
    SEARCH | {"space": {NAME: {"choices": ["adam", "sgd"]}, LR: {"low": 0.001, "high": 0.1}}}
)
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
    found = plan()._replace(search=SEARCHED)
    assert "trial 2 is the best of 4" in write_results(
        ROWS, found, metrics=tmp_path, table=tmp_path / "trials.csv"
    )
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
    random = np.random.default_rng(1)
    sampled = [{NAME: random.choice(["adam", "sgd"]).item(), LR: random.uniform(0.001, 0.1)}
             for _ in range(40)]  # fmt: skip
    rows = [row(n, each[LR] * 5, each) for n, each in enumerate(sampled, start=1)]
    found = importances(rows, SEARCHED)
    assert found[LR] > 0.95
    assert sum(found.values()) == pytest.approx(1)
    constant = [each._replace(value=0.5) for each in rows]
    assert importances(constant, SEARCHED) == importances(rows[:1], SEARCHED) == {}


HOSTILE = "</script><b onclick=alert(1)>&amp;"


def test_the_page_shows_every_trial_works_offline_and_escapes_names(plan, tmp_path):
    search = Search.model_validate(
        SEARCH | {"space": {NAME: {"choices": ["adam", HOSTILE]}, LR: {"low": 0.001, "high": 0.1}}}
    )
    found = plan()._replace(search=search, name=HOSTILE)
    rows = [each._replace(sampled=each.sampled | {NAME: HOSTILE}) if n == 1 else each
            for n, each in enumerate(ROWS)]  # fmt: skip
    rows.append(row(5, None, {NAME: "adam", LR: 0.05}, state="failed", failure=HOSTILE, outcome={}))
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
    assert page.count("<tr") == 2 + 1 + 5 + 1  # best of two choices, five trials, two heads


# ---------------------------------------------------------------------------------- applying


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
    assert [line.strip() for line in removed] == [
        "arguments: {hidden: [255], dropout: 0.2}"
    ]  # of the other two lines, other models have the like
    assert "        optimizer: {name: adam, lr: 0.000012345678901234568}" in added
    assert "    arguments: {hidden: [64, 32], dropout: 0.2}" in added
    assert (
        check_params(path)["models"]["mlp"]["phases"]["p1"]["optimizer"]["lr"]
        == sampled[f"{base}phases.p1.optimizer.lr"]
    )
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


# ---------------------------------------------------------------------------------- the command


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
    result = invoke(project(), WORLD_SIZE="2")
    assert result.exit_code == 1
    assert "without torchrun" in result.stderr


@pytest.mark.slow
def test_the_command_line_starts_without_optuna_and_optuna_logs_nothing(project):
    loaded = (
        "import sys, classifold.cli.app; print('optuna' in sys.modules, 'torch' in sys.modules)"
    )
    assert work(["-c", loaded], ROOT).stdout.split() == ["False", "False"]
    done = work(["-W", "error", *SEARCH_COMMAND], project(**TPE | {"epochs": 1}))
    assert done.stderr == ""
    assert "ExperimentalWarning" not in done.stdout and "[I 20" not in done.stdout
