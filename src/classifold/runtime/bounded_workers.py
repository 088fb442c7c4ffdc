"""Worker processes for untrusted input: each item has a limit on time and on memory."""

import multiprocessing
import queue
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from classifold.runtime.processes import start_worker

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerError(Exception):
    """Raised for an item that a worker could not process within its limits."""


class TimeLimitError(WorkerError):
    """Raised for an item that took too long; its process was killed."""


class MemoryLimitError(WorkerError):
    """Raised for an item that needs more memory than a process may use."""


class CrashError(WorkerError):
    """Raised for an item that ended its process."""


class BoundedWorkers(Generic[Item, Result]):
    """Processes that apply one function, each to one item at a time.

    A process that exceeds the time, or crashes, is replaced. The limit on memory needs Linux.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        *,
        n_workers: int,
        max_seconds: float,
        max_bytes: int,
    ) -> None:
        """Prepare processes; each starts with its first item.

        Args:
            function: a function of a module, which is imported once for all processes.
            n_workers: number of processes.
            max_seconds: time per item, without the start of a process.
            max_bytes: memory per item, beside what a process needs without any.
        """
        self._context = multiprocessing.get_context("forkserver")
        module = function.func if isinstance(function, partial) else function
        self._context.set_forkserver_preload([module.__module__])
        self._arguments = (function, max_bytes)
        self._max_seconds = max_seconds
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()
        self._n_workers = n_workers
        for _ in range(n_workers):
            self._idle.put(None)

    def apply(self, item: Item) -> Result:
        """Apply the function in an idle process; wait for one if there is none. Thread-safe.

        Raises:
            WorkerError: if the item exceeds a limit or ends its process.
        """
        worker = self._idle.get()
        try:
            worker = worker or _Worker(self._context, self._arguments)
            return worker.apply(item, max_seconds=self._max_seconds)
        except (TimeLimitError, CrashError):
            if worker:
                worker.kill()
            worker = None
            raise
        finally:
            self._idle.put(worker)

    def stop(self) -> None:
        """End the processes, when each has finished its item."""
        for _ in range(self._n_workers):
            if worker := self._idle.get():
                worker.kill()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, arguments: tuple[Any, ...]) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()  # it is ready

    def apply(self, item: Any, *, max_seconds: float) -> Any:
        try:
            self._pipe.send(item)
        except OSError:
            raise CrashError from None
        if not self._pipe.poll(max_seconds):
            raise TimeLimitError
        outcome = self._receive()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise CrashError from None


def _work(pipe: Connection, function: Callable[[Any], Any], max_bytes: int) -> None:
    """Process items until the pipe is closed."""
    start_worker()
    _limit_memory(max_bytes)
    pipe.send(None)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            outcome = function(item)
        except MemoryError:
            outcome = MemoryLimitError()
        except Exception as error:  # for the caller
            outcome = error
        del item
        pipe.send(outcome)


def _limit_memory(max_bytes: int) -> None:
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 - Unix alone has it

    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (used,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    limit = int(used) * 1024 + max_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
