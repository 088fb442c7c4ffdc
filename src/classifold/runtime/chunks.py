"""Chunks of items that are sent to processes or nodes, and limits on how many are in flight."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

ITEMS_PER_CHUNK = 32
MAX_BYTES_PER_CHUNK = 4 * 2**20
CHUNKS_PER_WORKER = 4

# After this many crashes the cause is the machine and not single items.
MAX_CRASHES = 20

WORKER_KILLED = (
    "a worker process was killed by the operating system, most often because the machine is out of "
    "memory. Close other programs, and run the same command again."
)


class Chunk(NamedTuple, Generic[Item]):
    """Items that are sent together."""

    items: list[Item]
    n_bytes: int


class Task(NamedTuple, Generic[Item]):
    """A chunk that is being processed, and the handle of its result."""

    chunk: Chunk[Item]
    handle: Any


def count_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def is_full(tasks: Iterable[Task[Any]], n_workers: int) -> bool:
    """Check whether enough is in flight: a few chunks per worker, or fewer if they are large."""
    tasks = list(tasks)
    n_bytes = sum(task.chunk.n_bytes for task in tasks)
    max_tasks = n_workers * CHUNKS_PER_WORKER
    max_bytes = max_tasks * MAX_BYTES_PER_CHUNK
    return len(tasks) >= max_tasks or (len(tasks) > n_workers and n_bytes >= max_bytes)


def make_chunks(
    items: Iterable[Item], n_bytes: Callable[[Item], int], chunk_size: int | None
) -> Iterator[Chunk[Item]]:
    """Group items into chunks of at most `chunk_size` items or `MAX_BYTES_PER_CHUNK` bytes."""
    chunk_size = chunk_size or ITEMS_PER_CHUNK
    chunk: list[Item] = []
    size = 0
    for item in items:
        chunk.append(item)
        size += n_bytes(item)
        if len(chunk) == chunk_size or size >= MAX_BYTES_PER_CHUNK:
            yield Chunk(chunk, size)
            chunk, size = [], 0
    if chunk:
        yield Chunk(chunk, size)
