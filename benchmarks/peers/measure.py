"""Run the script of a peer, and measure what it costs."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from load import INTERVAL, children, sample

# The kernel divides a page that several processes map among them, as after a fork.
PROPORTIONAL = ("Pss_Anon:", "Pss_Shmem:")
MEMORY_INTERVAL = 1  # seconds; the kernel visits every page


class Cost(NamedTuple):
    """What a process and its children cost."""

    seconds: float  # of the clock
    cpu_seconds: float
    peak_gib: float  # without mapped files; pages that processes share count once
    end: str  # "ok", "failed" or "stopped" (at the limit)


def measure(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], limit: float
) -> Cost:
    """Run a command in `folder`, its output into `log.txt`; stop it after `limit` seconds."""
    started = time.time()
    cpu: dict[int, float] = {}
    peak, seen = 0, 0.0
    with (folder / "log.txt").open("w") as log:
        process = psutil.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        )
        try:
            while process.poll() is None and time.time() - started < limit:
                sample(process, cpu)
                if time.time() - seen > MEMORY_INTERVAL:
                    peak, seen = max(peak, _memory(process)), time.time()
                time.sleep(INTERVAL)
        finally:
            stopped = process.poll() is None
            if stopped:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    end = "stopped" if stopped else "failed" if process.returncode else "ok"
    return Cost(time.time() - started, sum(cpu.values()), peak / 2**30, end)


def _memory(process: psutil.Process) -> int:
    """Add up the memory of a process and its children in bytes, without mapped files."""
    kib = 0
    for one in [process, *children(process)]:
        try:
            lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith(PROPORTIONAL))
    return 1024 * kib
