"""Processes end with a killed parent, and a stage waits for the process that holds its lock."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from classifold.runtime.processes import LOCKS, stage_lock

MAX_SECONDS = 20  # of a busy machine

# Starts another Python with the arguments, prints its process id, and waits for it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
print(child.pid, flush=True)
child.wait()
"""
STAGE = """
import time
from classifold.runtime.processes import exit_with_parent
exit_with_parent()
open("begun", "w").close()
time.sleep(60)
"""
WORKERS = """
import os, time
from classifold.runtime import parallel
os.sched_getaffinity = lambda _: {0, 1}
list(parallel.ordered_map(time.sleep, [60] * 2000, n_items=2000))
"""
WRITER = """
import sys, time
from classifold.runtime.processes import stage_lock
with stage_lock("train/m"):
    with open("log", "a") as log:
        print("begins", sys.argv[1], file=log, flush=True)
        time.sleep(float(sys.argv[2]))
        print("ends", sys.argv[1], file=log, flush=True)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a Python in its own folder; what is left of it at the end is killed."""
    monkeypatch.delenv("DVC_STAGE", raising=False)
    started = []

    def run(code, *arguments, **variables):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def wait_until(condition):
    until = time.monotonic() + MAX_SECONDS
    while not condition():
        assert time.monotonic() < until, "timeout"
        time.sleep(0.02)


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("starter", ["DVC_STAGE", "TORCHELASTIC_RUN_ID"])
def test_a_stage_ends_when_its_parent_is_killed(start, tmp_path, starter):
    parent = start(PARENT, STAGE, **{starter: "train@m"})
    stage = psutil.Process(int(parent.stdout.readline()))
    wait_until((tmp_path / "begun").exists)
    assert is_running(stage)
    parent.kill()
    wait_until(lambda: not is_running(stage))


def test_a_stage_started_by_hand_outlives_its_shell(start, tmp_path):
    parent = start(PARENT, STAGE)
    stage = psutil.Process(int(parent.stdout.readline()))
    wait_until((tmp_path / "begun").exists)
    parent.kill()
    parent.wait()
    time.sleep(1)
    assert is_running(stage)


def test_worker_processes_end_with_their_killed_parent(start):
    parent = start(WORKERS)
    wait_until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) >= 4)
    workers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()  # only the parent; not two workers, the fork server and the resource tracker
    wait_until(lambda: not [worker for worker in workers if is_running(worker)])


def test_a_second_process_waits_for_the_lock_and_names_its_holder(start, tmp_path):
    first = start(WRITER, "first", "1.5")
    wait_until((tmp_path / "log").exists)
    second = start(WRITER, "second", "0")
    output, _ = second.communicate(timeout=MAX_SECONDS)
    assert re.search(rf"train/m: .*process {first.pid}.*kill {first.pid}", output)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["begins first", "ends first", "begins second", "ends second"]


def test_the_lock_of_a_killed_process_is_released(start, tmp_path):
    first = start(WRITER, "first", "60")
    wait_until((tmp_path / "log").exists)
    first.kill()
    second = start(WRITER, "second", "0")
    assert second.communicate(timeout=MAX_SECONDS)[0] == ""
    assert (tmp_path / "log").read_text().splitlines()[-1] == "ends second"


def test_other_stages_and_other_ranks_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with stage_lock("train/m"), stage_lock("train/n"):
        assert {path.name for path in (LOCKS / "train").iterdir()} == {"m.lock", "n.lock"}
        monkeypatch.setenv("RANK", "1")
        with stage_lock("train/m"):
            pass
