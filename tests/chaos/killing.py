"""`dvc repro` killed at chosen moments, and what is left when it has gone on to its end."""

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
SECONDS_BETWEEN_LOOKS = 0.02
MOST_SECONDS_OF_ORPHANS = 600  # importing torch on a busy machine takes long

# DVC writes both in place. A kill in the middle leaves half, which DVC refuses.
CUT_SHORT = ("dvc.lock' validation failed", "dvc.lock' is invalid", "Unable to read RWLock-file")
REPAIRED = "the same bytes; DVC's own file was cut short, and repaired by classifold check"
SAME = "the same bytes"


class Moment(NamedTuple):
    """When to kill, and whom."""

    stage: str
    seconds: float  # after the stage began
    whole_group: bool  # or DVC alone


class Kill(NamedTuple):
    """What was killed, when, and what came of it."""

    stage: str  # in which it was, which may be one later than planned
    seconds: float  # after that repro began
    whole_group: bool
    orphans: int  # processes that outlived DVC
    seconds_of_orphans: float  # until the last of them was gone
    outcome: str


class Repro:
    """A `dvc repro` at work, in a process group of its own."""

    def __init__(self, clone: Clone, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        self.start = time.monotonic()
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                ["dvc", "repro", *arguments],
                cwd=clone.root,
                env=clone.environment() | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stages(self) -> list[str]:
        """Those that have begun, first that of DVC's own beginning."""
        return [START, *RUNNING.findall(self.output())]

    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, moment: Moment, order: Sequence[str]) -> bool:
        """Wait for a moment in a stage, or in a later one; False if all ended before."""
        wanted = order.index(moment.stage)
        while order.index(self.stages()[-1]) < wanted:
            if self.ended():
                return False
            time.sleep(SECONDS_BETWEEN_LOOKS)
        until = time.monotonic() + moment.seconds
        while time.monotonic() < until:
            if self.ended():
                return False
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return not self.ended()

    def kill(self, *, whole_group: bool) -> list[psutil.Process]:
        """Kill, and tell which processes were below DVC."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        if whole_group:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()
        return below


class Orphans:
    """Processes that were below a killed DVC, watched while the next one is at work."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.processes, self.seconds = processes, 0.0
        self.left = [process for process in processes if process.is_running()]
        self.thread = Thread(target=self._watch)
        self.thread.start()

    def _watch(self) -> None:
        start = time.monotonic()
        _, self.left = psutil.wait_procs(self.processes, timeout=MOST_SECONDS_OF_ORPHANS)
        self.seconds = time.monotonic() - start


def run_killed(
    clone: Clone, moments: Sequence[Moment], *, order: Sequence[str], arguments: Sequence[str] = ()
) -> tuple[list[Kill], list[Moment]]:
    """Run to the end, killed at each moment in turn, each time going on.

    Args:
        clone: in which something is to be done.
        moments: in the order of their stages.
        order: of all stages, `START` first.
        arguments: of `dvc repro`.

    Returns:
        What happened at each moment, and the moments that came too late.
    """
    kills, missed, watched = [], [], []
    left = list(moments)
    repaired = False
    while True:
        repro = Repro(clone, arguments, clone.root.parent / f"{clone.root.name}.log")
        if left and repro.wait_for(left[0], order):
            moment, stage = left.pop(0), repro.stages()[-1]
            seconds = time.monotonic() - repro.start
            watched.append(Orphans(repro.kill(whole_group=moment.whole_group)))
            kills.append(Kill(stage, seconds, moment.whole_group, 0, 0.0, SAME))
            repaired = False
            continue
        code, told = repro.process.wait(), repro.output()
        if code and not repaired and any(words in told for words in CUT_SHORT):
            clone.run("python", "-m", "classifold", "check")
            kills[-1] = kills[-1]._replace(outcome=REPAIRED)
            repaired = True
            continue
        if code:
            kills[-1] = kills[-1]._replace(outcome=f"the next repro failed: {told[-2000:]}")
        missed = left
        break
    for i, orphans in enumerate(watched):
        orphans.thread.join()
        kills[i] = kills[i]._replace(
            orphans=len(orphans.processes), seconds_of_orphans=orphans.seconds
        )
        if orphans.left:
            kills[i] = kills[i]._replace(outcome="orphans are still at work")
    return kills, missed


def state(clone: Clone) -> dict[str, object]:
    """All that must be the same at the end: every output, and `dvc.lock` but for times."""
    lock = YAML(typ="safe").load((clone.root / "dvc.lock").read_text())
    varies = ("timings/", "reports/")
    for stage in lock["stages"].values():
        for kind in ("deps", "outs"):
            kept = [
                entry for entry in stage.get(kind, []) if not f"{entry['path']}/".startswith(varies)
            ]
            stage[kind] = kept
    return clone.content() | {"dvc.lock": lock["stages"]}


def differences(clone: Clone, expected: dict[str, object]) -> list[str]:
    """What is not as after an undisturbed run; nothing, if all is well."""
    found = state(clone)
    wrong = [
        f"{name} differs" for name in found | expected if found.get(name) != expected.get(name)
    ]
    wrong += [f"{path} is left over" for path in clone.root.rglob("*.partial")]
    kept = [path for path in (clone.root / ".cache").rglob("*") if path.is_file()]
    wrong += [f"{path} is left over" for path in kept if path.suffix != ".lock"]
    wrong += [f"{path} is damaged" for path in find_damaged_files(clone.root)]
    return wrong
