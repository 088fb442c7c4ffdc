"""Kill `dvc repro` at given moments, and compare the outputs after it has been resumed."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import psutil
from ruamel.yaml import YAML

from classifold.project.dvc_cache import find_damaged_files
from synthetic_clone import Clone

START = "(DVC starts)"
RUNNING = re.compile(r"^Running stage '(.+?)':", re.MULTILINE)
OF_PROCESS = re.compile(r"\.[0-9a-f]+-\d+\.partial$")
POLL_SECONDS = 0.02
MAX_SECONDS_OF_ORPHANS = 600  # importing PyTorch takes long on a busy machine

# DVC writes both files in place. After a kill they can be truncated, and DVC refuses them.
TRUNCATED = ("dvc.lock' validation failed", "dvc.lock' is invalid", "Unable to read RWLock-file")
REPAIRED = "the same bytes; a truncated file of DVC was repaired by classifold check"
SAME = "the same bytes"


class Moment(NamedTuple):
    """When to kill which processes."""

    stage: str
    seconds: float  # after the stage began
    whole_group: bool  # or only DVC


class Kill(NamedTuple):
    """What was killed, when, and the outcome."""

    stage: str  # the running stage, which can be a later one than planned
    seconds: float  # after the start of dvc repro
    whole_group: bool
    orphans: int  # processes that outlived DVC
    seconds_of_orphans: float  # until the last of them ended
    outcome: str


class Repro:
    """A running `dvc repro`, in its own process group; one that is not killed can be forked."""

    def __init__(
        self, clone: Clone, arguments: Sequence[str], log: Path, *, forked: bool = False
    ) -> None:
        self.log = log
        self.start = time.monotonic()
        environment = clone.environment(forked=forked) | {"PYTHONUNBUFFERED": "1"}
        place = {"cwd": clone.root, "env": environment, "start_new_session": True}
        with log.open("wb") as file:
            files = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(["dvc", "repro", *arguments], **place, **files)

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stages(self) -> list[str]:
        """List the stages that have started; the first entry is the start of DVC."""
        return [START, *RUNNING.findall(self.output())]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, moment: Moment, order: Sequence[str]) -> bool:
        """Wait for a moment in a stage or in a later one; False if the run ended before."""
        wanted = order.index(moment.stage)
        while order.index(self.stages()[-1]) < wanted:
            if self.ended():
                return False
            time.sleep(POLL_SECONDS)
        until = time.monotonic() + moment.seconds
        while time.monotonic() < until:
            if self.ended():
                return False
            time.sleep(POLL_SECONDS)
        return not self.ended()

    def kill(self, *, whole_group: bool) -> list[psutil.Process]:
        """Kill, and return the processes that were children of DVC."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        if whole_group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        return below


class Orphans:
    """Children of a killed DVC, watched while the next DVC runs."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.processes, self.seconds = processes, 0.0
        self.left = [process for process in processes if process.is_running()]
        self.thread = Thread(target=self._watch)
        self.thread.start()

    def _watch(self) -> None:
        start = time.monotonic()
        _, self.left = psutil.wait_procs(self.processes, timeout=MAX_SECONDS_OF_ORPHANS)
        self.seconds = time.monotonic() - start


def run_killed(
    clone: Clone, moments: Sequence[Moment], *, order: Sequence[str], arguments: Sequence[str] = ()
) -> tuple[list[Kill], list[Moment]]:
    """Run outdated stages to the end; kill at each moment in turn, and resume each time.

    The first of all stages in `order` is `START`; moments are in this order. Returns the kills, and
    the moments that were not reached.
    """
    kills, missed, watched = [], [], []
    left = list(moments)
    repaired = False
    while True:
        log = clone.root.parent / f"{clone.root.name}.log"
        repro = Repro(clone, arguments, log, forked=not left)
        if left and repro.wait_for(left[0], order):
            moment, stage = left.pop(0), repro.stages()[-1]
            seconds = time.monotonic() - repro.start
            watched.append(Orphans(repro.kill(whole_group=moment.whole_group)))
            kills.append(Kill(stage, seconds, moment.whole_group, 0, 0.0, SAME))
            repaired = False
            continue
        code, output = repro.process.wait(), repro.output()
        if code and not repaired and any(words in output for words in TRUNCATED):
            clone.run("classifold", "check")
            kills[-1] = kills[-1]._replace(outcome=REPAIRED)
            repaired = True
            continue
        if code:
            kills[-1] = kills[-1]._replace(outcome=f"the next repro failed: {output[-2000:]}")
        missed = left
        break
    for i, orphans in enumerate(watched):
        orphans.thread.join()
        seconds = orphans.seconds
        kills[i] = kills[i]._replace(orphans=len(orphans.processes), seconds_of_orphans=seconds)
        if orphans.left:
            kills[i] = kills[i]._replace(outcome="orphans are still running")
    return kills, missed


def state(clone: Clone) -> dict[str, object]:
    """All outputs, and `dvc.lock` without times."""
    lock = YAML(typ="safe").load((clone.root / "dvc.lock").read_text())
    varies = ("timings/", "reports/")
    for stage in lock["stages"].values():
        for kind in ("deps", "outs"):
            entries = stage.get(kind, [])
            stage[kind] = [each for each in entries if not f"{each['path']}/".startswith(varies)]
    return clone.content() | {"dvc.lock": lock["stages"]}


def differences(clone: Clone, expected: dict[str, object]) -> list[str]:
    """List differences to the state after an uninterrupted run."""
    found = state(clone)
    names = [name for name in found | expected if found.get(name) != expected.get(name)]
    wrong = [f"{name} differs" for name in names]
    # A file that a killed process was writing has the process in its name, and may remain.
    unfinished = clone.root.rglob("*.partial")
    wrong += [f"{path} is left over" for path in unfinished if not OF_PROCESS.search(path.name)]
    kept = [path for path in (clone.root / ".cache").rglob("*") if path.is_file()]
    # `check.json` is what the last `classifold check` found valid.
    left_over = [path for path in kept if path.suffix != ".lock" and path.name != "check.json"]
    wrong += [f"{path} is left over" for path in left_over]
    wrong += [f"{path} is damaged" for path in find_damaged_files(clone.root)]
    return wrong
