"""Workers: resuming, sharing trials, and what a search is identified by."""

import contextlib
import shutil

import pytest
import search_project as runs
from search_project import BATCH, DATABASE, GRID, LR, SEARCH

from classifold.runtime.source_code import PACKAGE, code_behind
from classifold.search import plan as plan_module
from classifold.search import worker
from classifold.search.plan import make_plan
from classifold.search.storage import open_search, storage_url


@pytest.mark.slow
def test_a_search_that_is_killed_and_resumed_has_the_same_results(project):
    killed, _ = runs.kill_and_resume(project, trial=5)
    states = [trial.state.name for trial in runs.all_trials(killed / DATABASE)]
    assert states == ["COMPLETE"] * 4 + ["FAIL"] + ["COMPLETE"] * 2
    assert "6 of 6 trials have ended" in runs.invoke(killed).output


@pytest.mark.slow
def test_workers_end_with_their_parent_and_the_rest_of_a_grid_is_run_once(project):
    space = {LR: {"choices": [0.01, 0.02, 0.03]}, BATCH: {"choices": [8, 16]}}
    alone, shared = (project(name, **GRID, space=space) for name in ("alone", "shared"))
    assert runs.invoke(alone).exit_code == 0
    command = (shared, "--workers", "2")
    runs.kill_at("  trial 3 of 6", runs.start(*command, HOLD="2,3"))

    process = runs.start(*command, HOLD="2,3")
    runs.read_until("  trial 3 of 6", process)  # by one worker, while trial 2 is held by the other
    runs.let_go(shared, process)
    complete = [t for t in runs.all_trials(shared / DATABASE) if t.state.name == "COMPLETE"]
    assert len(complete) == len({tuple(sorted(trial.params.items())) for trial in complete}) == 6
    assert runs.results_of(shared) == runs.results_of(alone)


@pytest.mark.slow
def test_separate_processes_share_the_trials_and_report_the_same_results(project):
    root = project(n_trials=7)
    processes = [runs.start(root, HOLD="1,2") for _ in range(2)]
    for process in processes:
        runs.read_until("  trial ", process)
    outputs = runs.let_go(root, *processes)
    trials = runs.all_trials(root / DATABASE)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 7
    assert sorted(trial.user_attrs["trial"] for trial in trials) == list(range(1, 8))
    assert len({text.splitlines()[-1] for text in outputs}) == 1  # the same best trial


def test_a_trial_that_another_process_runs_is_not_started(plan, tmp_path, monkeypatch):
    found, file = plan(n_trials=3), tmp_path / "s.sqlite3"
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_POLLS", 0.01)
    naps = []
    url = storage_url(None, default=file)
    with open_search(found, url) as opened, contextlib.ExitStack() as held:
        held.enter_context(opened.locks.take("trial-2"))

        def release(_):
            naps.append(len(runs.all_trials(file)))
            held.close()

        monkeypatch.setattr(worker.time, "sleep", release)
        rows = runs.run(found, file)
    assert naps == [2]  # all but the one that was held
    assert [each.trial for each in rows] == [1, 2, 3]
    numbers = [trial.user_attrs["trial"] for trial in runs.all_trials(file)]
    assert numbers == [1, 3, 2]


def test_more_trials_extend_a_search_and_another_space_begins_a_new_one(plan, tmp_path):
    file = tmp_path / "s.sqlite3"
    two = runs.run(plan(n_trials=2), file)
    three = runs.run(plan(n_trials=3), file)
    assert [each.sampled for each in three[:2]] == [each.sampled for each in two]
    assert len(runs.all_trials(file)) == 3
    runs.run(plan(n_trials=2, space={LR: {"low": 0.001, "high": 0.1, "log": True}}), file)
    assert len(runs.all_trials(file)) == 5
    again = runs.run(plan(n_trials=2), file)
    assert [each.sampled for each in again] == [each.sampled for each in two]


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

    def code_behind_copy(file):
        return {copied / each.relative_to(PACKAGE) for each in code_behind(file)}

    monkeypatch.setattr(plan_module, "code_behind", code_behind_copy)
    networks = {"models.m.network": {"choices": ["mlp", "initial_cnn"]}}
    root = project(space=SEARCH["space"] | networks)

    def key():
        return make_plan(root / "search.yaml", params, packs=root / "data/augmented").key

    def changed_by(files):
        """Those of the files that each change the key; none, if all together do not change it."""
        texts = {file: file.read_text(encoding="utf-8") for file in files}
        for file, text in texts.items():
            file.write_text(f"{text}\n", encoding="utf-8")
        changed = key() != before
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
        if not changed or len(files) == 1:
            return set(files) if changed else set()
        middle = len(files) // 2
        return changed_by(files[:middle]) | changed_by(files[middle:])

    before = key()
    files = changed_by(sorted(copied.rglob("*.py")))
    changing = {file.relative_to(copied).as_posix() for file in files}
    assert key() == before
    assert changing >= {
        "search/trial.py", "search/samplers.py", "search/space.py", "training/loop.py",
        "training/losses.py", "augmentation/online/policy.py", "models/inference.py",
        "data/pack.py", "networks/mlp.py", "networks/initial_cnn.py",
    }  # fmt: skip
    imported = {name.split("/")[0] for name in changing}
    of_training = {"training", "augmentation", "models", "networks", "data", "params"}
    assert imported <= of_training | {"search"}
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
