"""Processes that end with their parent, and the lock that keeps a stage to one process.

If only DVC is killed, the script of its stage keeps running as an orphan. The next `dvc repro`
starts the stage again, and two scripts would write the same files.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from classifold.runtime.progress import is_rank_zero, log

LOCKS = Path(".cache/locks")  # outside of the outputs, which DVC removes
POLL_SECONDS = 0.2

# Set by the programs that start stages; a stage that is started by hand outlives its shell.
STARTED_BY_DVC = "DVC_STAGE"
STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"

# Set by a stage that starts torchrun itself: it holds the lock for all its processes.
LAUNCHED = "CLASSIFOLD_LAUNCHED"


def exit_with_parent() -> None:
    """End this process as soon as the DVC or torchrun process that started it has ended."""
    if STARTED_BY_DVC in os.environ and _is_orphan():
        _kill_this_process()  # the parent ended while this process imported its modules
    if STARTED_BY_DVC in os.environ or STARTED_BY_TORCHRUN in os.environ:
        _end_after(partial(_wait_until_orphan, os.getppid()))


def start_worker() -> None:
    """Make a worker process end with its parent and leave Ctrl-C to the parent.

    A terminal sends Ctrl-C to all processes of a group.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_after(parent.join)


@contextmanager
def stage_lock(stage: str) -> Iterator[None]:
    """Hold the lock of a stage; wait first if another process holds it.

    The operating system releases the lock when the process ends, however it ends. Of the processes
    of torchrun only rank 0 holds it, since only rank 0 writes files.

    Args:
        stage: such as `split` or `train/small_resnet`.
    """
    if not is_rank_zero() or LAUNCHED in os.environ:
        yield
        return
    path = LOCKS / f"{stage}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive its process
    try:
        _acquire(lock, path, stage)
        path.write_text(str(os.getpid()), encoding="utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, stage: str) -> None:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = path.read_text(encoding="utf-8")
        log(
            f"{stage}: waiting for process {holder}, which runs the same stage; "
            f"stop it with 'kill {holder}'"
        )
        lock.acquire()
    except OSError as error:
        log(
            f"{stage}: this file system has no locks ({error}); make sure that only one process "
            "runs this stage"
        )


def _is_orphan() -> bool:
    """Whether the parent has ended; in a container the parent itself may be process 1."""
    return os.getppid() == 1 and os.getpgid(1) != os.getpgrp()


def _wait_until_orphan(parent: int) -> None:
    # Polling works on every system. Linux can send a signal instead (PR_SET_PDEATHSIG), but it
    # also sends it when only the thread that started this process ends.
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)


def _end_after(wait: Callable[[], None]) -> None:
    """End this process, whatever it is doing, once `wait` returns."""

    def wait_and_end() -> None:
        wait()
        _kill_this_process()

    threading.Thread(target=wait_and_end, daemon=True).start()


def _kill_this_process() -> None:
    # No clean-up: the next run of the stage cleans up, and may already be doing so.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows has one of them
