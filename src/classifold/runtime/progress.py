"""Log lines and progress: a bar on a terminal, a line every 15 seconds elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from classifold.plain_text import plain_text

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 15.0


def is_rank_zero() -> bool:
    """Check whether this process logs and writes files; torchrun starts several."""
    return os.environ.get("RANK", "0") == "0"


def log(text: str) -> None:
    """Print a line without buffering; only rank 0 does."""
    if is_rank_zero():
        print(plain_text(text), flush=True)


def warn(lines: Sequence[str]) -> None:
    """Print a warning: its first line stands out, and the others are below it."""
    for number, line in enumerate(lines):
        log(f"    {line}" if number else f"  WARNING: {line}")


def format_speed(speed: float) -> str:
    """Format a number of items per second, with at least two digits."""
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"


def track(items: Iterable[Item], *, task: str, total: int, unit: str) -> Iterator[Item]:
    """Iterate over `items` and show the progress.

    Time is measured from the end of the first item, which may wait for networks to be loaded.

    Args:
        items: any items.
        task: the name of the work, such as "read".
        total: the expected number of items.
        unit: the plural name of the items, such as "images".
    """
    if not is_rank_zero():
        yield from items
    elif sys.stdout.isatty():
        yield from _bar(items, task=task, total=total, unit=unit)
    else:
        yield from _lines(items, task=task, total=total, unit=unit)


def _bar(items: Iterable[Item], *, task: str, total: int, unit: str) -> Iterator[Item]:
    # Not at the top: most stages run without a terminal, and the import takes a tenth of a second.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=Console(),
    )
    start = 0.0
    with bar:
        row = bar.add_task(task, total=total, speed="")
        for done, item in enumerate(items, start=1):
            yield item
            now = time.perf_counter()
            if done == 1:
                start = now
                bar.update(row, completed=done)
                continue
            speed = (done - 1) / (now - start)
            bar.update(row, completed=done, speed=f"{format_speed(speed)} {unit}/s")


def _lines(items: Iterable[Item], *, task: str, total: int, unit: str) -> Iterator[Item]:
    start = last = 0.0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.perf_counter()
        if done == 1:
            start = last = now
        elif now - last >= SECONDS_BETWEEN_LINES:
            last = now
            speed = (done - 1) / (now - start)
            left = max(total - done, 0) / speed
            log(
                f"{task}: {done:,} of {total:,} {unit}, {format_speed(speed)} {unit}/s, "
                f"{left:.0f} s left"
            )
