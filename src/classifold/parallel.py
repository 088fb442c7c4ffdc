"""Work shared out to processes, in bounded memory."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from classifold.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting processes costs about a second; fewer items than this are done in place.
FEWEST_ITEMS_FOR_PROCESSES = 1000
ITEMS_A_TASK = 32
TASKS_AHEAD = 4
THREAD_ITEMS_AHEAD = 4
BYTES_A_TASK = 4 * 2**20

SECONDS_BETWEEN_LOOKS = 0.5  # at whether the parent is still there

# A machine that ends helpers again and again has another fault than one bad item.
MOST_CRASHES = 20

ENDED = (
    "a helper process was ended from outside, most often for want of memory; close other "
    "programs and run again"
)


class _Task(NamedTuple, Generic[Item, Result]):
    """Some items on their way through another process."""

    items: list[Item]
    results: "Future[list[Result]]"


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_items: int,
    n_bytes: Callable[[Item], int] = lambda _: 0,
    crashed: Callable[[Item], Result] | None = None,
) -> Iterator[Result]:
    """Apply `function` to each item, in as many processes as there are cores.

    Results come in the order of `items`, and are the same whatever the number of processes.
    At most a few hundred items, or a few tasks of `BYTES_A_TASK`, are in flight:
    `Executor.map` takes in the whole iterable first (its `buffersize` came with Python 3.14),
    so the window is ours.

    Args:
        function: a function of a module (it travels to other processes by name).
        items: anything; read only as far as the window reaches.
        n_items: how many there are about, to decide whether processes pay.
        n_bytes: how large an item is, where items may be large.
        crashed: the result for an item that ends the process that works on it (a decoder's
            fault); without it, that is an error.

    Raises:
        UserError: if a process was ended, and `crashed` does not say what that means.
    """
    n_processes = _n_cores()
    if n_processes == 1 or n_items < FEWEST_ITEMS_FOR_PROCESSES:
        yield from map(function, items)
        return

    bundles = _bundles(items, n_bytes)
    waiting: deque[_Task[Item, Result]] = deque()
    n_crashes = 0
    while True:
        try:
            with _Pool(n_processes) as pool:
                yield from _in_order(pool, function, bundles, waiting, n_processes * TASKS_AHEAD)
            return
        except BrokenProcessPool:
            if crashed is None:
                raise UserError(ENDED) from None
        # One of the items in flight ended the pool: they are tried again, one at a time.
        suspects = deque(item for task in waiting for item in task.items)
        waiting.clear()
        while suspects:
            n_done = 0
            try:
                with _Pool(1) as pool:
                    while suspects:
                        result = pool.submit(function, suspects[0]).result()
                        suspects.popleft()
                        n_done += 1
                        yield result
            except BrokenProcessPool:
                if n_done:
                    continue  # not yet sure: the item gets a process that has done nothing else
                n_crashes += 1
                if n_crashes > MOST_CRASHES:
                    raise UserError(ENDED) from None
                yield crashed(suspects.popleft())


def threaded_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, n_threads: int | None = None
) -> Iterator[Result]:
    """Apply `function` to each item in several threads, in order.

    For work that leaves Python's lock alone (OpenCV, Pillow's decoders) and whose results are
    large: nothing travels between processes. A few items are in flight.

    Args:
        function: anything that threads may call at once.
        items: read only as far as the window reaches.
        n_threads: as many as there are cores, if not given.
    """
    n_threads = n_threads or _n_cores()
    remaining = iter(items)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            while True:
                for item in islice(remaining, n_threads * THREAD_ITEMS_AHEAD - len(waiting)):
                    waiting.append(pool.submit(function, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def end_with_parent(parent: int | None = None) -> None:
    """From now on, end this process once its parent is gone, even if that was killed.

    Args:
        parent: its process id, if it is known since before this process has begun.
    """
    expected = parent or os.getppid()

    def look() -> None:
        while os.getppid() == expected:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


class _Pool(ProcessPoolExecutor):
    """Processes that give up what waits as soon as their block is left."""

    def __init__(self, n_processes: int) -> None:
        # forkserver: forking a process that has threads (Arrow, BLAS) may hang it.
        context = multiprocessing.get_context("forkserver")
        super().__init__(n_processes, mp_context=context, initializer=_leave_ctrl_c)

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    bundles: Iterator[list[Item]],
    waiting: "deque[_Task[Item, Result]]",
    most_waiting: int,
) -> Iterator[Result]:
    while True:
        while len(waiting) < most_waiting and (bundle := next(bundles, None)):
            try:
                results = pool.submit(_apply, function, bundle)
            except BrokenProcessPool:
                waiting.append(_Task(bundle, Future()))  # taken from the items: not to be lost
                raise
            waiting.append(_Task(bundle, results))
        if not waiting:
            return
        done = waiting[0].results.result()
        waiting.popleft()
        yield from done


def _bundles(items: Iterable[Item], n_bytes: Callable[[Item], int]) -> Iterator[list[Item]]:
    bundle: list[Item] = []
    size = 0
    for item in items:
        bundle.append(item)
        size += n_bytes(item)
        if len(bundle) == ITEMS_A_TASK or size >= BYTES_A_TASK:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle


def _leave_ctrl_c() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _apply(function: Callable[[Item], Result], task: list[Item]) -> list[Result]:
    return [function(item) for item in task]
