"""Trials: first weights, scores, failures and pruning."""

import numpy as np
import pytest
import torch
from search_project import BATCH, GRID, LR, NAME, ROOT, dump, run, work

from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.errors import UserError
from classifold.reporting.search_page import write_search_page
from classifold.search.results import search_metrics, write_results
from classifold.search.space import cells
from classifold.search.trial import run_trial
from forked_python import forked_tools


def test_all_trials_begin_with_the_same_weights_and_end_with_different_ones(
    plan, tmp_path, weights
):
    space = {NAME: {"choices": ["adam", "sgd"]}, LR: {"choices": [0.01, 0.1]}}
    space["models.m.arguments.dropout"] = {"choices": [0.0, 0.5]}
    run(plan(**GRID, space=space), tmp_path / "s.sqlite3")
    assert len(weights) == 8
    assert all(before == weights[0][0] for before, _ in weights)
    assert not any(after == weights[0][1] for _, after in weights[1:])


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
        assert weights[-1][1] == after_others[number - 1]
        assert outcome.validation.accuracy == rows[number - 1].value
        assert round(outcome.validation.loss, 6) == rows[number - 1].outcome["validation_loss"]


@pytest.mark.slow
def test_the_value_of_a_trial_is_the_score_that_the_stage_train_writes(plan, tmp_path, params):
    found = plan(n_trials=1, epochs=3)
    (only,) = run(found, tmp_path / "s.sqlite3")
    root = found.packs.parents[1]
    dump(root / "params.yaml", found.params_of(only.sampled))
    work([ROOT / "stages/train.py", "m"], root, python=forked_tools() / "python")
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
    failures = [each["failure"] for each in read_rows(tmp_path / "trials.csv")]
    assert ["the loss" in failure for failure in failures] == [True, True]
    write_search_page(tmp_path / "index.html", rows, found)
    assert "No trial was completed" in (tmp_path / "index.html").read_text()


PRUNERS = (
    {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 1},
    {"name": "hyperband", "min_resource": 1, "reduction_factor": 2},
)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner["name"])
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
