"""Storages of searches: files and PostgreSQL."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import search_project as runs
from search_project import BATCH, DATABASE, GRID, LR

from classifold.errors import UserError
from classifold.search.storage import storage_url
from command_line import error_of
from stage_process import free_port

POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path())  # where Debian puts it


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
    error = error_of(runs.invoke(root, "--storage", "sqlite:///s.sqlite3"))
    assert re.search("sqlite:///s.sqlite3: .*file is not a database", error)


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
    port = free_port()
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
    storage = {"CLASSIFOLD_SEARCH_STORAGE": postgres}
    killed, output = runs.kill_and_resume(project, trial=3, **storage)
    assert not (killed / DATABASE).exists()
    written = [path for path in killed.rglob("*") if path.is_file()]
    assert len(written) > 6
    assert not [path for path in written if b"top-secret" in path.read_bytes()]
    assert "top-secret" not in output


@pytest.mark.slow
def test_workers_share_a_grid_in_postgresql(project, postgres):
    space = {LR: {"choices": [0.01, 0.02]}, BATCH: {"choices": [4, 8, 16]}}
    root = project(**GRID, space=space)
    (root / "search.yaml").rename(root / "shared.yaml")
    options = ("--storage", postgres, "--workers", "2")
    process = runs.start(root, *options, file="shared.yaml", HOLD="1,2")
    runs.read_until("  trial 2 of 6", process)  # by one worker, while trial 1 is held by the other
    runs.let_go(root, process)
    trials = runs.all_trials(storage_url(postgres, default=root), "shared")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({tuple(sorted(trial.params.items())) for trial in trials}) == 6


@pytest.mark.slow
def test_a_worker_in_postgresql_takes_over_the_trial_of_one_that_was_killed(project, postgres):
    """Each in a folder of its own, as on two machines."""
    alone, left, lost = (project(name, n_trials=5) for name in ("alone", "left", "lost"))
    assert runs.invoke(alone).exit_code == 0
    environment = {"CLASSIFOLD_SEARCH_STORAGE": postgres}
    killed = runs.start(lost, HOLD="1", **environment)
    runs.read_until("  trial 1 of 5", killed)
    others = runs.start(left, **environment)
    output = runs.read_until("  waiting for trials of other workers: 1\n", others)
    assert "  trial 5 of 5" in output
    killed.kill()
    killed.communicate()
    output = others.communicate(timeout=300)[0]
    assert output.startswith("  trial 1 of 5")
    assert others.returncode == 0
    assert runs.results_of(left) == runs.results_of(alone)
    trials = runs.all_trials(storage_url(postgres, default=left))
    mine = [trial.state.name for trial in trials if trial.params in parameters_of(alone)]
    assert sorted(mine) == ["COMPLETE"] * 5 + ["FAIL"]


def parameters_of(root):
    return [trial.params for trial in runs.all_trials(root / DATABASE)]


def test_a_wrong_password_is_reported_but_not_shown(project, postgres):
    wrong = postgres.replace("top-secret", "mistaken")
    result = runs.invoke(project(), CLASSIFOLD_SEARCH_STORAGE=wrong)
    assert result.exit_code == 1
    assert "password authentication failed" in result.stderr
    assert "seeker:***@127.0.0.1" in result.stderr
    assert "mistaken" not in result.output
