"""A worker process that exceeds a limit is replaced, and its item is reported."""

import os
import sys
import time

import pytest

from classifold.runtime import bounded_workers as module
from classifold.runtime.bounded_workers import BoundedWorkers


@pytest.mark.parametrize(
    ("function", "item", "error", "small"),
    [
        pytest.param(time.sleep, 60, module.TimeLimitError, 0, id="time"),
        pytest.param(os._exit, 3, module.CrashError, None, id="crash"),
        pytest.param(
            bytes,
            2**28,
            module.MemoryLimitError,
            3,
            id="memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux limits the memory"),
        ),
    ],
)
@pytest.mark.promise("serve-bounded")
def test_an_item_beyond_a_limit_is_an_error_and_the_next_one_is_processed(
    function, item, error, small
):
    workers = BoundedWorkers(function, n_workers=1, max_seconds=2, max_bytes=2**26)
    try:
        for _ in range(2):
            with pytest.raises(error):
                workers.apply(item)
        if small is not None:
            assert workers.apply(small) == function(small)
    finally:
        workers.stop()


def test_an_error_of_the_function_is_raised():
    workers = BoundedWorkers(int, n_workers=1, max_seconds=60, max_bytes=2**26)
    with pytest.raises(ValueError, match="invalid literal"):
        workers.apply("x")
    assert workers.apply("3") == 3
    workers.stop()
