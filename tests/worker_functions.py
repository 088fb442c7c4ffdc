"""Functions and items for worker processes; imports little, since each of them imports it."""

import os
import time


def negative(item):
    """Minus `item`; 13 and its like end the process, as a decoder's fault does."""
    if item % 100 == 13:
        os._exit(1)
    return -item


def slowly(item):
    """Minus `item`, and who computed it."""
    time.sleep(0.02)
    return os.getpid(), -item


def counted(items, taken):
    """Yield the items, and note in a list those that were taken."""
    for item in items:
        taken.append(item)
        yield item


def failing_items():
    """Yield items until a disk fails."""
    yield from range(100)
    raise OSError("the disk is gone")
