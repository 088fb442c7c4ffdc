"""Work shared out to processes, in bounded memory."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from classifold.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting processes costs about a second; fewer items than this are done in place.
FEWEST_ITEMS_FOR_PROCESSES = 2000
ITEMS_A_TASK = 32
TASKS_AHEAD = 4


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, n_items: int
) -> Iterator[Result]:
    """Apply `function` to each item, in as many processes as there are cores.

    Results come in the order of `items`, and are the same whatever the number of processes.
    At most a few hundred items are in flight: `Executor.map` takes in the whole iterable
    first (its `buffersize` came with Python 3.14), so the window is ours.

    Args:
        function: a function of a module (it travels to other processes by name).
        items: anything; read only as far as the window reaches.
        n_items: how many there are about, to decide whether processes pay.

    Raises:
        UserError: if a process was killed.
    """
    n_processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if n_processes == 1 or n_items < FEWEST_ITEMS_FOR_PROCESSES:
        yield from map(function, items)
        return

    remaining = iter(items)
    waiting: deque[Future[list[Result]]] = deque()
    # forkserver: forking a process that has threads (Arrow, BLAS) may hang it.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(n_processes, mp_context=context, initializer=_leave_ctrl_c) as pool:
        try:
            while True:
                while len(waiting) < n_processes * TASKS_AHEAD:
                    task = list(islice(remaining, ITEMS_A_TASK))
                    if not task:
                        break
                    waiting.append(pool.submit(_apply, function, task))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "a helper process was ended from outside, most often for want of memory; close "
                "other programs and run again"
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _leave_ctrl_c() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _apply(function: Callable[[Item], Result], task: list[Item]) -> list[Result]:
    return [function(item) for item in task]
