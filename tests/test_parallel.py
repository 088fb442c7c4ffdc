"""Work in several processes gives what work in one gives."""

import operator
import os

import pytest

from classifold import parallel
from classifold.errors import UserError
from classifold.parallel import ordered_map


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def test_processes_give_the_results_of_one_in_their_order_from_a_bounded_window(two_cores):
    n_items, n_taken = 3000, 0

    def items():
        nonlocal n_taken
        for item in range(n_items):
            n_taken += 1
            yield item

    results = ordered_map(operator.neg, items(), n_items=n_items)
    assert next(results) == 0
    assert n_taken <= 2 * parallel.TASKS_AHEAD * parallel.ITEMS_A_TASK
    assert list(results) == [-item for item in range(1, n_items)]


def test_a_failure_in_another_process_arrives_as_it_is(two_cores):
    items = [1, 2, "three", *range(100)]
    with pytest.raises(TypeError, match="bad operand type"):
        list(ordered_map(operator.neg, items, n_items=10**6))


def test_a_helper_that_is_killed_is_a_message_and_not_a_hang(two_cores):
    with pytest.raises(UserError, match=r"a helper process was ended from outside, .* run again"):
        list(ordered_map(os._exit, range(100), n_items=10**6))


def test_few_items_need_no_other_process(two_cores):
    here = os.getpid()
    results = ordered_map(lambda item: (item, os.getpid()), range(5), n_items=5)
    assert list(results) == [(item, here) for item in range(5)]
