"""Bundles of items on their way to processes or nodes, and how many may be in flight."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

ITEMS_A_TASK = 32
TASKS_AHEAD = 4
BYTES_A_TASK = 4 * 2**20

# A machine that ends helpers again and again has another fault than one bad item.
MOST_CRASHES = 20

ENDED = (
    "a helper process was ended from outside, most often for want of memory; close other "
    "programs and run again"
)


class Bundle(NamedTuple, Generic[Item]):
    """Items that travel together."""

    items: list[Item]
    n_bytes: int


class Task(NamedTuple, Generic[Item]):
    """A bundle on its way through another process, and the engine's handle of it."""

    bundle: Bundle[Item]
    handle: Any


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def is_full(waiting: Iterable[Task[Any]], n_workers: int) -> bool:
    """Whether enough is in flight: a few tasks a worker, or fewer if they are large."""
    tasks = list(waiting)
    n_bytes = sum(task.bundle.n_bytes for task in tasks)
    most = n_workers * TASKS_AHEAD
    return len(tasks) >= most or (len(tasks) > n_workers and n_bytes >= most * BYTES_A_TASK)


def make_bundles(
    items: Iterable[Item], n_bytes: Callable[[Item], int], most_items: int | None
) -> Iterator[Bundle[Item]]:
    """Gather items into bundles of at most so many items, or of `BYTES_A_TASK`."""
    most_items = most_items or ITEMS_A_TASK
    bundle: list[Item] = []
    size = 0
    for item in items:
        bundle.append(item)
        size += n_bytes(item)
        if len(bundle) == most_items or size >= BYTES_A_TASK:
            yield Bundle(bundle, size)
            bundle, size = [], 0
    if bundle:
        yield Bundle(bundle, size)
