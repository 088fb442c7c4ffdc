"""Work for processes of a cluster; imports little, since each of them imports it."""

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
