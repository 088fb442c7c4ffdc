"""Work in several processes gives what work in one gives, whatever ends them."""

import operator
import os
import time

import pytest

from classifold.errors import UserError
from classifold.runtime import bundles, parallel
from classifold.runtime.parallel import ordered_map, threaded_map

MANY = 10**6  # enough items for processes to pay


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(bundles, "ITEMS_A_TASK", 2)
    monkeypatch.setattr(bundles, "TASKS_AHEAD", 2)


def negative(item):
    """Minus `item`; 13 and its like end the process, as a decoder's fault does."""
    if item % 100 == 13:
        os._exit(1)
    return -item


def counted(items, taken):
    for item in items:
        taken.append(item)
        yield item


def test_processes_give_the_results_of_one_in_their_order_from_a_bounded_window():
    n_items, taken = 3000, []
    results = ordered_map(operator.neg, counted(range(n_items), taken), n_items=n_items)
    assert next(results) == 0
    assert len(taken) <= 2 * bundles.TASKS_AHEAD * bundles.ITEMS_A_TASK
    assert list(results) == [-item for item in range(1, n_items)]


def test_the_window_is_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr(bundles, "BYTES_A_TASK", 100)
    taken = []
    results = ordered_map(
        operator.neg, counted(range(200), taken), n_items=MANY, n_bytes=lambda _: 60
    )
    assert next(results) == 0
    assert len(taken) <= 2 * bundles.TASKS_AHEAD * 2  # two items of 60 bytes are over 100
    assert list(results) == [-item for item in range(1, 200)]


def test_no_items_are_no_results():
    assert list(ordered_map(operator.neg, [], n_items=MANY)) == []


def test_a_failure_in_another_process_arrives_as_it_is():
    items = [1, 2, "three", *range(100)]
    with pytest.raises(TypeError, match="bad operand type"):
        list(ordered_map(operator.neg, items, n_items=MANY))


def test_a_failure_in_the_source_of_items_arrives_as_it_is():
    def items():
        yield from range(100)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(ordered_map(operator.neg, items(), n_items=MANY))


def test_a_helper_that_is_killed_is_a_message_and_not_a_hang():
    with pytest.raises(UserError, match=r"a helper process was ended from outside, .* run again"):
        list(ordered_map(os._exit, range(100), n_items=MANY))


def test_an_item_that_ends_its_process_costs_no_other_item_its_result(small_tasks):
    results = ordered_map(negative, range(10, 30), n_items=MANY, crashed="item {} crashed".format)
    expected = [-item if item != 13 else "item 13 crashed" for item in range(10, 30)]
    assert list(results) == expected


def test_items_that_crash_first_last_and_side_by_side_are_told_apart(small_tasks):
    items = [13, 1, 113, 213, 2, 3, 313]
    results = ordered_map(negative, items, n_items=MANY, crashed=lambda item: item)
    assert list(results) == [13, -1, 113, 213, -2, -3, 313]


def test_no_item_is_lost_when_a_process_ends_while_results_are_taken_in(small_tasks):
    results = ordered_map(negative, [1, 2, 13, *range(20, 40)], n_items=MANY, crashed=str)
    first = next(results)
    time.sleep(1)  # the pool breaks meanwhile, before the next task is handed in
    assert [first, *results] == [-1, -2, "13", *range(-20, -40, -1)]


def test_a_failure_among_the_suspects_of_a_crash_arrives_as_it_is(small_tasks):
    with pytest.raises(TypeError, match="not all arguments converted"):
        list(ordered_map(negative, [13, "odd", 1, 2], n_items=MANY, crashed=str))


def test_a_machine_that_ends_helpers_again_and_again_is_a_message(small_tasks, monkeypatch):
    monkeypatch.setattr(parallel, "MOST_CRASHES", 2)
    results = ordered_map(negative, [13, 113, 213, 1], n_items=MANY, crashed=str)
    assert [next(results), next(results)] == ["13", "113"]
    with pytest.raises(UserError, match="a helper process was ended from outside"):
        next(results)


def test_few_items_need_no_other_process():
    here = os.getpid()
    results = ordered_map(lambda item: (item, os.getpid()), range(5), n_items=5)
    assert list(results) == [(item, here) for item in range(5)]


def test_threads_give_the_results_of_one_in_their_order_from_a_bounded_window():
    def slowest_first(item):
        time.sleep(0.01 * (item == 0))
        return -item

    taken = []
    results = threaded_map(slowest_first, counted(range(200), taken))
    assert next(results) == 0
    assert len(taken) <= 2 * parallel.THREAD_ITEMS_AHEAD
    assert list(results) == [-item for item in range(1, 200)]


def test_a_failure_in_a_thread_arrives_as_it_is_after_the_results_before_it():
    results = threaded_map(operator.neg, [1, 2, "three", 4])
    assert [next(results), next(results)] == [-1, -2]
    with pytest.raises(TypeError, match="bad operand type"):
        next(results)


def test_threads_that_nobody_waits_for_any_more_take_no_more_items():
    taken = []
    results = threaded_map(operator.neg, counted(range(200), taken))
    next(results)
    results.close()
    assert len(taken) <= 2 * parallel.THREAD_ITEMS_AHEAD
