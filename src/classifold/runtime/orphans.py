"""What a killed parent leaves at work: it ends, and who comes after it waits until it has.

DVC that is killed alone leaves its stage's script running. The next `dvc repro` starts the stage
once more, and two scripts would write the same files.
"""

import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from classifold.runtime.progress import is_first_process, log

LOCKS = Path(".cache/locks")  # outside of the outputs, which DVC removes
SECONDS_BETWEEN_LOOKS = 0.2

# Who starts stages and may be killed without them; a stage started by hand outlives its shell.
STARTED_BY_DVC = "DVC_STAGE"
STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"

# Set by a stage that starts torchrun by itself: it holds its lock for all the processes.
LAUNCHED = "CLASSIFOLD_LAUNCHED"


def begin_stage() -> None:
    """See to it that this process ends as soon as the DVC or torchrun that started it is gone."""
    if STARTED_BY_DVC in os.environ and _is_orphan():
        _end()  # it was gone before we had imported everything
    if STARTED_BY_DVC in os.environ or STARTED_BY_TORCHRUN in os.environ:
        _end_after(partial(_wait_until_orphan, os.getppid()))


def begin_helper() -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent; and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_after(parent.join)


@contextmanager
def only_one(stage: str) -> Iterator[None]:
    """Hold the lock of a stage while the block runs; wait for the process that holds it, if any.

    The lock is gone with its process, however that ends. Of torchrun's processes the first holds
    it, which alone writes.

    Args:
        stage: such as `split` or `train/small_resnet`.
    """
    if not is_first_process() or LAUNCHED in os.environ:
        yield
        return
    path = LOCKS / f"{stage}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        _lock(file.fileno(), path, stage)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(descriptor: int, path: Path, stage: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = path.read_text(encoding="utf-8")
        log(
            f"{stage}: waiting for process {holder}, which is at this stage too; "
            f"'kill {holder}' ends it"
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        log(f"{stage}: this file system knows no locks; see to it that one process is at a stage")


def _is_orphan() -> bool:
    """Whether init has taken this process in; in a container the parent itself may be process 1."""
    return os.getppid() == 1 and os.getpgid(1) != os.getpgrp()


def _wait_until_orphan(parent: int) -> None:
    # Linux alone can be asked for a signal, and sends it when the parent's thread ends, too.
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _end_after(wait: Callable[[], None]) -> None:
    """End this process, whatever it does then, once `wait` returns."""

    def wait_and_end() -> None:
        wait()
        _end()

    threading.Thread(target=wait_and_end, daemon=True).start()


def _end() -> None:
    # No clearing up: whoever comes next does that, and may be at it already.
    os.kill(os.getpid(), signal.SIGKILL)
