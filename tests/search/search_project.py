"""A small project to search in, and functions to run its searches."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from ruamel.yaml import YAML

import tiny_model
from classifold.data.csv_file import read_rows
from classifold.search.results import Row
from classifold.search.storage import storage_url
from classifold.search.worker import run_search
from command_line import classifold
from forked_python import forked_tools

ROOT = Path(__file__).parents[2]
DATABASE = ".cache/searches/search.sqlite3"
LR = "models.m.phases.p1.optimizer.lr"
NAME = "models.m.phases.p1.optimizer.name"
BATCH = "models.m.batch_size"

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
    values = {"trial": trial, "value": value, "sampled": sampled, "failure": ""}
    return Row(**defaults | values | changes)


def work(arguments, root, *, python=sys.executable):
    """A command of the project, from its folder."""
    place = {"cwd": root, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    command = [python, *map(str, arguments)]
    return subprocess.run(command, **place, check=True, capture_output=True, text=True)


TPE = {
    "metric": "loss",  # which differs between any two trials
    "epochs": 3,
    "n_trials": 6,
    "sampler": {"name": "tpe", "seed": 1, "n_startup_trials": 3},
    "space": {LR: SEARCH["space"][LR], BATCH: {"choices": [4, 8, 16]}},
}


def start(root, *options, file="search.yaml", **environment):
    """The command in a forked process; the trials HOLD wait in the middle for a file `go`."""
    script = Path(__file__).with_name("held_search.py")
    command = [forked_tools() / "python", script, "search", file, *options]
    place = {"cwd": root, "env": os.environ | {"OMP_NUM_THREADS": "1"} | environment}
    files = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **place, **files, start_new_session=True)


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
    process.communicate(timeout=60)  # until the forked process and all workers have ended
    assert process.returncode == -signal.SIGKILL


def kill_and_resume(project, *, trial, **environment):
    """Kill a search in a trial, and resume it: its results are those of one that is not killed.

    Returns its folder and what it prints at the end.
    """
    alone, killed = project("alone", **TPE), project("killed", **TPE)
    assert invoke(alone).exit_code == 0
    kill_at(f"  trial {trial} of 6", start(killed, HOLD=str(trial), **environment))
    assert not (killed / "metrics").exists()
    output = invoke(killed, **environment).output
    assert f"search: {trial - 1} of 6 trials have ended" in output
    assert f"trial {trial - 1} of 6" not in output and f"trial {trial} of 6" in output
    # The values of later trials depend on the results of earlier ones.
    assert results_of(killed) == results_of(alone)
    return killed, output


def let_go(root, *processes):
    """Let held trials go on; return the rest of the output of each process, once all have ended."""
    (root / "go").touch()
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return outputs


def invoke(root, *arguments, **environment):
    """The command in this process."""
    with contextlib.chdir(root):
        return classifold("search", "search.yaml", *arguments, env=environment)


def results_of(root):
    """The outputs of a search, without times."""
    table = read_rows(root / "reports/search/search/trials.csv")
    for each in table:
        del each["seconds"]
    return (root / "metrics/search/search.json").read_bytes(), table
