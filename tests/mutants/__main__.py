"""Put faults into copies of the code, and see whether the quick tests notice: `make mutants`.

Each fault of `faults.toml` is put into a copy of its own, in a temporary folder, and the quick
tests of its file run on this copy, in a process that is forked from one that has imported the
libraries. A fault is killed if a test fails, or if the tests take longer than `MAX_SECONDS`. All
tests must pass without a fault. The exit status is 0 if `WANTED` of all faults are killed, and
exactly those survive that have a reason.
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest

from forked_python import LIBRARIES
from mutants.faults import FAULTS, SOURCE, Fault, read_faults

WANTED = 0.95
MAX_SECONDS = 600  # with one fault
TESTS = Path(__file__).parents[1]
EXIT = pytest.ExitCode
NOT_RUN = (EXIT.INTERNAL_ERROR, EXIT.USAGE_ERROR, EXIT.NO_TESTS_COLLECTED)
FORK = multiprocessing.get_context("fork")


class Job(NamedTuple):
    """Tests to run on a copy of the code."""

    tests: tuple[str, ...]
    fault: Fault | None = None  # None to run them without one


class Outcome(NamedTuple):
    job: Job
    passed: bool
    seconds: float
    log: str


class Running(NamedTuple):
    job: Job
    process: BaseProcess
    folder: Path
    begin: float

    def outcome(self) -> Outcome | None:
        """None while the tests run; a process that takes too long is ended."""
        seconds = time.monotonic() - self.begin
        if self.process.is_alive() and (self.job.fault is None or seconds < MAX_SECONDS):
            return None
        if self.process.pid is not None and self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        log = (self.folder / "log").read_text(errors="replace")
        if self.process.exitcode in NOT_RUN:
            raise RuntimeError(f"{log}\nThe tests of {self.job.tests} could not be run.")
        return Outcome(self.job, self.process.exitcode == EXIT.OK, seconds, log)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("files", nargs="*", help="only of files with this in their path")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="number of processes")
    parser.add_argument("--faults", type=Path, default=FAULTS, help="another list of faults")
    options = parser.parse_args()
    faults = [
        fault
        for fault in read_faults(options.faults)
        if not options.files or any(part in fault.file for part in options.files)
    ]
    sys.path[:] = [path for path in sys.path if Path(path) != SOURCE.parent]
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    for library in LIBRARIES:
        importlib.import_module(library)

    begin = time.monotonic()
    everything = dict.fromkeys(name for fault in faults for name in fault.tests)
    outcomes = []
    for outcome in run([Job(tuple(everything)), *(Job(f.tests, f) for f in faults)], options.jobs):
        if fault := outcome.job.fault:
            outcomes.append(outcome)
            found = "survived" if outcome.passed else "killed"
            progress = f"{len(outcomes)}/{len(faults)} {found}, {outcome.seconds:.0f} s"
            print(f"{progress}: {fault}", flush=True)
        elif not outcome.passed:
            print(f"{outcome.log}\nThe tests fail without a fault.", file=sys.stderr)
            return 1
    return report(outcomes, minutes=(time.monotonic() - begin) / 60)


def run(jobs: Iterable[Job], n_processes: int) -> Iterator[Outcome]:
    waiting, running = list(jobs)[::-1], list[Running]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as root:
        try:
            while waiting or running:
                while waiting and len(running) < n_processes:
                    running.append(start(waiting.pop(), Path(tempfile.mkdtemp(dir=root))))
                wait([each.process.sentinel for each in running], timeout=1)
                for each in list(running):
                    if outcome := each.outcome():
                        running.remove(each)
                        shutil.rmtree(each.folder)
                        yield outcome
        finally:
            for each in running:
                each.process.kill()
                each.process.join()


def start(job: Job, folder: Path) -> Running:
    shutil.copytree(SOURCE, folder / "src/classifold")
    if job.fault:
        faulty = job.fault.of(job.fault.original())
        (folder / "src/classifold" / job.fault.file).write_text(faulty)
    process = FORK.Process(target=run_tests, args=(job.tests, folder))
    process.start()
    return Running(job, process, folder, time.monotonic())


def run_tests(tests: Iterable[str], folder: Path) -> None:
    os.setsid()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.path.insert(0, str(folder / "src"))
    os.environ["PYTHONPATH"] = str(folder / "src")
    options = ["-x", "-q", "-m", "not slow and not real", "-p", "no:cacheprovider"]
    options.append(f"--basetemp={folder / 'tests'}")
    # Libraries with plugins for pytest have been imported before.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status: int = EXIT.INTERNAL_ERROR
    try:
        status = pytest.main(options + [str(TESTS / name) for name in tests])
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def report(outcomes: list[Outcome], *, minutes: float) -> int:
    n_faults = Counter(outcome.job.fault.file for outcome in outcomes)
    survived = [outcome.job.fault for outcome in outcomes if outcome.passed]
    n_survived = Counter(fault.file for fault in survived)
    n_killed = len(outcomes) - len(survived)
    print("\n| file | faults | killed |\n|---|---|---|")
    for file, n in n_faults.items():
        print(f"| `{file}` | {n} | {n - n_survived[file]} |")
    print(f"| all | {len(outcomes)} | {n_killed} ({n_killed / len(outcomes):.1%}) |\n")
    for fault in survived:
        print(f"survived: {fault}: {fault.reason or 'no reason is given'}")
    needless = [each.job.fault for each in outcomes if each.job.fault.reason and not each.passed]
    for fault in needless:
        print(f"killed, so that it needs no reason: {fault}")
    print(f"{minutes:.0f} minutes")
    explained = all(fault.reason for fault in survived) and not needless
    return int(not explained or n_killed < WANTED * len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
