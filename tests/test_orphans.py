"""What a killed parent leaves at work ends, and who comes after it waits until it has."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from classifold.runtime.orphans import LOCKS, only_one

MOST_SECONDS = 20  # of a busy machine

# Starts another Python with what follows on its command line, tells its number, and waits for it.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
print(child.pid, flush=True)
child.wait()
"""
STAGE = """
import time
from classifold.runtime.orphans import begin_stage
begin_stage()
open("begun", "w").close()
time.sleep(60)
"""
HELPERS = """
import os, time
from classifold.runtime import parallel
os.sched_getaffinity = lambda _: {0, 1}
list(parallel.ordered_map(time.sleep, [60] * 2000, n_items=2000))
"""
WRITER = """
import sys, time
from classifold.runtime.orphans import only_one
with only_one("train/m"):
    with open("log", "a") as log:
        print("begins", sys.argv[1], file=log, flush=True)
        time.sleep(float(sys.argv[2]))
        print("ends", sys.argv[1], file=log, flush=True)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a Python in a folder of its own; whatever is left of it at the end is killed."""
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
    until = time.monotonic() + MOST_SECONDS
    while not condition():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


def is_at_work(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("starter", ["DVC_STAGE", "TORCHELASTIC_RUN_ID"])
def test_a_stage_ends_when_who_started_it_is_killed(start, tmp_path, starter):
    parent = start(PARENT, STAGE, **{starter: "train@m"})
    stage = psutil.Process(int(parent.stdout.readline()))
    wait_until((tmp_path / "begun").exists)
    assert is_at_work(stage)
    parent.kill()
    wait_until(lambda: not is_at_work(stage))


def test_a_stage_started_by_hand_outlives_its_shell(start, tmp_path):
    parent = start(PARENT, STAGE)
    stage = psutil.Process(int(parent.stdout.readline()))
    wait_until((tmp_path / "begun").exists)
    parent.kill()
    parent.wait()
    time.sleep(1)
    assert is_at_work(stage)


def test_helpers_end_with_their_killed_parent(start):
    parent = start(HELPERS)
    wait_until(lambda: len(psutil.Process(parent.pid).children(recursive=True)) >= 4)
    helpers = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()  # alone; two helpers, the server that forks them, and the tracker of resources
    wait_until(lambda: not [helper for helper in helpers if is_at_work(helper)])


def test_the_second_at_a_stage_waits_for_the_first_and_says_for_whom(start, tmp_path):
    first = start(WRITER, "first", "1.5")
    wait_until((tmp_path / "log").exists)
    second = start(WRITER, "second", "0")
    told, _ = second.communicate(timeout=MOST_SECONDS)
    assert f"train/m: waiting for process {first.pid}, which is at this stage too" in told
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["begins first", "ends first", "begins second", "ends second"]


def test_the_lock_of_a_killed_process_is_gone(start, tmp_path):
    first = start(WRITER, "first", "60")
    wait_until((tmp_path / "log").exists)
    first.kill()
    second = start(WRITER, "second", "0")
    assert second.communicate(timeout=MOST_SECONDS)[0] == ""
    assert (tmp_path / "log").read_text().splitlines()[-1] == "ends second"


def test_other_stages_and_torchruns_other_processes_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with only_one("train/m"), only_one("train/n"):
        assert {path.name for path in (LOCKS / "train").iterdir()} == {"m.lock", "n.lock"}
        monkeypatch.setenv("RANK", "1")
        with only_one("train/m"):
            pass
