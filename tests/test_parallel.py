"""Several processes give the results of one process, even if some of them end."""

import operator
import os
import time

import pytest

from classifold.errors import UserError
from classifold.runtime import chunks, parallel
from classifold.runtime.parallel import ordered_map, threaded_map
from worker_functions import counted, failing_items, negative

MANY = 10**6  # enough items for processes


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "ITEMS_PER_CHUNK", 2)
    monkeypatch.setattr(chunks, "CHUNKS_PER_WORKER", 2)


def test_results_of_processes_are_in_order_and_their_window_is_bounded():
    n_items, taken = 3000, []
    results = ordered_map(operator.neg, counted(range(n_items), taken), n_items=n_items)
    assert next(results) == 0
    assert len(taken) <= 2 * chunks.CHUNKS_PER_WORKER * chunks.ITEMS_PER_CHUNK
    assert list(results) == [-item for item in range(1, n_items)]


def test_the_window_is_also_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(chunks, "MAX_BYTES_PER_CHUNK", 100)
    taken = []
    items, settings = counted(range(200), taken), {"n_items": MANY, "n_bytes": lambda _: 60}
    results = ordered_map(operator.neg, items, **settings)
    assert next(results) == 0
    assert len(taken) <= 2 * chunks.CHUNKS_PER_WORKER * 2  # two items of 60 bytes are over 100
    assert list(results) == [-item for item in range(1, 200)]


def test_no_items_give_no_results():
    assert list(ordered_map(operator.neg, [], n_items=MANY)) == []


def test_an_error_in_a_worker_process_is_raised_unchanged():
    items = [1, 2, "three", *range(100)]
    with pytest.raises(TypeError, match="bad operand type"):
        list(ordered_map(operator.neg, items, n_items=MANY))


def test_an_error_of_the_items_is_raised_unchanged():
    with pytest.raises(OSError, match="the disk is gone"):
        list(ordered_map(operator.neg, failing_items(), n_items=MANY))


def test_a_killed_worker_process_is_an_error_and_not_a_hang():
    with pytest.raises(UserError, match=r"worker process was killed.*memory.*run"):
        list(ordered_map(os._exit, range(100), n_items=MANY))


def test_an_item_that_ends_its_process_does_not_affect_other_items(small_chunks):
    results = ordered_map(negative, range(10, 30), n_items=MANY, on_crash="item {} crashed".format)
    expected = [-item if item != 13 else "item 13 crashed" for item in range(10, 30)]
    assert list(results) == expected


def test_items_that_crash_first_last_and_next_to_each_other_are_identified(small_chunks):
    items = [13, 1, 113, 213, 2, 3, 313]
    results = ordered_map(negative, items, n_items=MANY, on_crash=lambda item: item)
    assert list(results) == [13, -1, 113, 213, -2, -3, 313]


def test_no_item_is_lost_if_a_process_ends_while_results_are_read(small_chunks):
    results = ordered_map(negative, [1, 2, 13, *range(20, 40)], n_items=MANY, on_crash=str)
    first = next(results)
    time.sleep(1)  # the pool breaks before the next chunk is submitted
    assert [first, *results] == [-1, -2, "13", *range(-20, -40, -1)]


def test_an_error_of_an_item_after_a_crash_is_raised_unchanged(small_chunks):
    with pytest.raises(TypeError, match="not all arguments converted"):
        list(ordered_map(negative, [13, "odd", 1, 2], n_items=MANY, on_crash=str))


def test_too_many_crashes_are_an_error(small_chunks, monkeypatch):
    monkeypatch.setattr(parallel, "MAX_CRASHES", 2)
    results = ordered_map(negative, [13, 113, 213, 1], n_items=MANY, on_crash=str)
    assert [next(results), next(results)] == ["13", "113"]
    with pytest.raises(UserError, match="worker process was killed"):
        next(results)


def test_few_items_are_processed_in_this_process():
    here = os.getpid()
    results = ordered_map(lambda item: (item, os.getpid()), range(5), n_items=5)
    assert list(results) == [(item, here) for item in range(5)]


def test_results_of_threads_are_in_order_and_their_window_is_bounded():
    def slowest_first(item):
        time.sleep(0.01 * (item == 0))
        return -item

    taken = []
    results = threaded_map(slowest_first, counted(range(200), taken))
    assert next(results) == 0
    assert len(taken) <= 2 * parallel.ITEMS_PER_THREAD
    assert list(results) == [-item for item in range(1, 200)]


def test_an_error_in_a_thread_is_raised_after_the_results_before_it():
    results = threaded_map(operator.neg, [1, 2, "three", 4])
    assert [next(results), next(results)] == [-1, -2]
    with pytest.raises(TypeError, match="bad operand type"):
        next(results)


def test_threads_read_no_more_items_after_the_generator_is_closed():
    taken = []
    results = threaded_map(operator.neg, counted(range(200), taken))
    next(results)
    results.close()
    assert len(taken) <= 2 * parallel.ITEMS_PER_THREAD
