"""Run the script of a peer, and measure what it costs."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from load import INTERVAL, sample


class Cost(NamedTuple):
    """What a process and its children cost."""

    seconds: float  # of the clock
    cpu_seconds: float
    peak_gib: float  # without mapped files
    end: str  # "ok", "failed" or "stopped" (at the limit)


def measure(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], limit: float
) -> Cost:
    """Run a command in `folder`, its output into `log.txt`; stop it after `limit` seconds."""
    started = time.time()
    cpu: dict[int, float] = {}
    peak = 0
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
                peak = max(peak, sample(process, cpu))
                time.sleep(INTERVAL)
        finally:
            stopped = process.poll() is None
            if stopped:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    end = "stopped" if stopped else "failed" if process.returncode else "ok"
    return Cost(time.time() - started, sum(cpu.values()), peak / 2**30, end)
