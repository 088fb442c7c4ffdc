"""Work shared out to processes, to threads or to a Ray cluster, in order and in bounded memory."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Literal, TypeVar

from classifold.errors import UserError
from classifold.runtime.bundles import (
    ENDED,
    MOST_CRASHES,
    Bundle,
    Task,
    count_cores,
    is_full,
    make_bundles,
)
from classifold.runtime.orphans import begin_helper
from classifold.runtime.ray_cluster import map_on_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")

# How the items are worked on where there is no cluster.
Locally = Literal["processes", "threads", "in place"]

# Starting processes costs about a second; fewer items than this are done in place.
FEWEST_ITEMS_FOR_PROCESSES = 1000
THREAD_ITEMS_AHEAD = 4

ENGINE = "CLASSIFOLD_ENGINE"
ENGINES = ("local", "ray")


def ordered_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_items: int,
    n_bytes: Callable[[Item], int] = lambda _: 0,
    crashed: Callable[[Item], Result] | None = None,
    items_a_task: int | None = None,
    locally: Locally = "processes",
    n_cores: int = 1,
) -> Iterator[Result]:
    """Apply `function` to each item, on all cores of this machine or of a Ray cluster.

    Which of the two is no parameter of the pipeline, since results are the same: it is the
    cluster where `CLASSIFOLD_ENGINE` is `ray`, or `RAY_ADDRESS` names one. Results come in the
    order of `items`, and are the same whatever the number of processes. At most a few hundred
    items a core, or a few tasks of `BYTES_A_TASK`, are in flight: `Executor.map` takes in the
    whole iterable first (its `buffersize` came with Python 3.14), so the window is ours.

    Args:
        function: of a module; it travels to other processes once, and what it holds with it.
        items: anything; read only as far as the window reaches.
        n_items: how many there are about, each of a millisecond or so, to decide whether
            other processes pay.
        n_bytes: how large an item, or its result, is, where one may be large.
        crashed: the result for an item that ends the process that works on it (a decoder's
            fault); without it, that is an error.
        items_a_task: how many items travel together; 1 where each is a second's work.
        locally: how it is done on this machine. `threads` are for work that leaves Python's lock
            alone and whose results are large, `in place` for what uses all cores by itself.
        n_cores: how many cores of a cluster one call of `function` keeps busy.

    Raises:
        UserError: if a process was ended, and `crashed` does not say what that means; or if the
            cluster cannot be used.
    """
    few = n_items < FEWEST_ITEMS_FOR_PROCESSES
    if _engine() == "ray" and not few:
        bundles = make_bundles(items, n_bytes, items_a_task)
        yield from map_on_cluster(function, bundles, crashed=crashed, n_cores=n_cores)
    elif locally == "threads":
        yield from threaded_map(function, items)
    elif locally == "in place" or few or count_cores() == 1:
        yield from map(function, items)
    else:
        bundles = make_bundles(items, n_bytes, items_a_task)
        yield from _map_bundles(function, bundles, crashed=crashed)


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
    n_threads = n_threads or count_cores()
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


def _engine() -> str:
    """The engine that the environment asks for."""
    name = os.environ.get(ENGINE) or ("ray" if os.environ.get("RAY_ADDRESS") else "local")
    if name not in ENGINES:
        raise UserError(
            f"{ENGINE} must be {' or '.join(ENGINES)}, got {name!r}; correct or unset it"
        )
    return name


def _map_bundles(
    function: Callable[[Item], Result],
    bundles: Iterator[Bundle[Item]],
    *,
    crashed: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """Apply `function` in processes of this machine."""
    n_processes = count_cores()
    waiting: deque[Task[Item]] = deque()
    n_crashes = 0
    while True:
        try:
            with _Pool(n_processes, function) as pool:
                yield from _in_order(pool, bundles, waiting, n_processes)
            return
        except BrokenProcessPool:
            if crashed is None:
                raise UserError(ENDED) from None
        # One of the items in flight ended the pool: they are tried again, one at a time.
        suspects = deque(item for task in waiting for item in task.bundle.items)
        waiting.clear()
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
                    continue  # not yet sure: the item gets a process that has done nothing else
                n_crashes += 1
                if n_crashes > MOST_CRASHES:
                    raise UserError(ENDED) from None
                yield crashed(suspects.popleft())


class _Pool(ProcessPoolExecutor):
    """Processes that give up what waits as soon as their block is left."""

    def __init__(self, n_processes: int, function: Callable[[Any], Any]) -> None:
        # forkserver: forking a process that has threads (Arrow, BLAS) may hang it.
        context = multiprocessing.get_context("forkserver")
        super().__init__(n_processes, mp_context=context, initializer=_begin, initargs=(function,))

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor,
    bundles: Iterator[Bundle[Item]],
    waiting: deque[Task[Item]],
    n_workers: int,
) -> Iterator[Any]:
    while True:
        while not is_full(waiting, n_workers) and (bundle := next(bundles, None)):
            try:
                results = pool.submit(_apply, bundle.items)
            except BrokenProcessPool:
                waiting.append(Task(bundle, Future()))  # taken from the items: not to be lost
                raise
            waiting.append(Task(bundle, results))
        if not waiting:
            return
        done = waiting[0].handle.result()
        waiting.popleft()
        yield from done


# In a helper process: what it applies to everything it is sent.
_given: list[Callable[[Any], Any]] = []


def _begin(function: Callable[[Any], Any]) -> None:
    begin_helper()
    _given[:] = [function]


def _apply(items: list[Any]) -> list[Any]:
    return [_given[0](item) for item in items]
