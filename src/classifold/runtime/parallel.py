"""Parallel map over processes, threads or a Ray cluster, in order and in bounded memory."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Literal, TypeVar

from classifold.errors import UserError
from classifold.runtime.chunks import (
    MAX_CRASHES,
    WORKER_KILLED,
    Chunk,
    Task,
    count_cores,
    is_full,
    make_chunks,
)
from classifold.runtime.processes import start_worker
from classifold.runtime.ray_cluster import map_on_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")

# How items are processed on this machine, without a cluster.
Local = Literal["processes", "threads", "serial"]

# Starting processes takes about a second; fewer items than this are processed serially.
MIN_ITEMS_FOR_PROCESSES = 1000
ITEMS_PER_THREAD = 4

ENGINE = "CLASSIFOLD_ENGINE"
ENGINES = ("local", "ray")


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_items: int,
    n_bytes: Callable[[Item], int] = lambda _: 0,
    on_crash: Callable[[Item], Result] | None = None,
    chunk_size: int | None = None,
    local: Local = "processes",
    n_cores: int = 1,
) -> Iterator[Result]:
    """Apply `function` to each item, on all cores of this machine or of a Ray cluster.

    A cluster is used if `CLASSIFOLD_ENGINE` is `ray` or `RAY_ADDRESS` is set. This is not a
    parameter of the pipeline, since it does not change the results: they come in the order of
    `items` and do not depend on the number of processes. At most a few hundred items per core, or
    a few chunks of `MAX_BYTES_PER_CHUNK`, are in flight. `Executor.map` would read all items first
    (it has `buffersize` since Python 3.14), therefore the window is implemented here.

    Args:
        function: a function of a module; it is sent to each process once, with its arguments.
        items: any items; they are read only as far as the window reaches.
        n_items: the approximate number of items of about a millisecond each; decides whether
            other processes are worth their start.
        n_bytes: the size of an item or of its result, if it can be large.
        on_crash: the result for an item whose processing ends the process (such as a fault in a
            decoder); without it, a crash is an error.
        chunk_size: how many items are sent together; 1 if each takes about a second.
        local: how items are processed on this machine. Use `threads` for functions that release
            Python's lock and have large results, and `serial` for functions that use all cores.
        n_cores: how many cores of a cluster one call of `function` uses.

    Raises:
        UserError: if a process was killed and `on_crash` is None, or if the cluster cannot be
            used.
    """
    few = n_items < MIN_ITEMS_FOR_PROCESSES
    if _engine() == "ray" and not few:
        chunks = make_chunks(items, n_bytes, chunk_size)
        yield from map_on_cluster(function, chunks, on_crash=on_crash, n_cores=n_cores)
    elif local == "threads":
        yield from threaded_map(function, items)
    elif local == "serial" or few or count_cores() == 1:
        yield from map(function, items)
    else:
        chunks = make_chunks(items, n_bytes, chunk_size)
        yield from _map_chunks(function, chunks, on_crash=on_crash)


def threaded_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, n_threads: int | None = None
) -> Iterator[Result]:
    """Apply `function` to each item in several threads, in order.

    For functions that release Python's lock (OpenCV, the decoders of Pillow) and have large
    results, since nothing is copied between processes. A few items are in flight.

    Args:
        function: a thread-safe function.
        items: any items; they are read only as far as the window reaches.
        n_threads: the number of threads; by default the number of cores.
    """
    n_threads = n_threads or count_cores()
    remaining = iter(items)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            while True:
                for item in islice(remaining, n_threads * ITEMS_PER_THREAD - len(pending)):
                    pending.append(pool.submit(function, item))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _engine() -> str:
    """Return the engine that the environment selects."""
    name = os.environ.get(ENGINE) or ("ray" if os.environ.get("RAY_ADDRESS") else "local")
    if name not in ENGINES:
        raise UserError(
            f"{ENGINE}: must be {' or '.join(ENGINES)}, got {name!r}. Correct or unset it."
        )
    return name


def _map_chunks(
    function: Callable[[Item], Result],
    chunks: Iterator[Chunk[Item]],
    *,
    on_crash: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """Apply `function` in processes of this machine."""
    n_processes = count_cores()
    pending: deque[Task[Item]] = deque()
    n_crashes = 0
    while True:
        try:
            with _Pool(n_processes, function) as pool:
                yield from _in_order(pool, chunks, pending, n_processes)
            return
        except BrokenProcessPool:
            if on_crash is None:
                raise UserError(WORKER_KILLED) from None
        # One of the items in flight ended its process: all of them are tried again, one by one.
        suspects = deque(item for task in pending for item in task.chunk.items)
        pending.clear()
        while suspects:
            n_done = 0
            try:
                with _Pool(1, function) as pool:
                    while suspects:
                        (result,) = pool.submit(_apply, [suspects[0]]).result()
                        suspects.popleft()
                        n_done += 1
                        yield result
            except BrokenProcessPool:
                if n_done:
                    continue  # not certain yet: the item is tried in a new process
                n_crashes += 1
                if n_crashes > MAX_CRASHES:
                    raise UserError(WORKER_KILLED) from None
                yield on_crash(suspects.popleft())


class _Pool(ProcessPoolExecutor):
    """A pool that cancels pending work when its block ends."""

    def __init__(self, n_processes: int, function: Callable[[Any], Any]) -> None:
        # forkserver: a forked copy of a process with threads (Arrow, BLAS) may hang.
        context = multiprocessing.get_context("forkserver")
        super().__init__(n_processes, mp_context=context, initializer=_begin, initargs=(function,))

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    chunks: Iterator[Chunk[Item]],
    pending: deque[Task[Item]],
    n_workers: int,
) -> Iterator[Any]:
    while True:
        while not is_full(pending, n_workers) and (chunk := next(chunks, None)):
            try:
                results = pool.submit(_apply, chunk.items)
            except BrokenProcessPool:
                pending.append(Task(chunk, Future()))  # already taken from the items
                raise
            pending.append(Task(chunk, results))
        if not pending:
            return
        done = pending[0].handle.result()
        pending.popleft()
        yield from done


# The function of a worker process, which is set once when the process starts.
_function: list[Callable[[Any], Any]] = []


def _begin(function: Callable[[Any], Any]) -> None:
    start_worker()
    _function[:] = [function]


def _apply(items: list[Any]) -> list[Any]:
    return [_function[0](item) for item in items]
