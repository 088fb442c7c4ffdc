"""Log lines of progress."""

import itertools
from types import SimpleNamespace

import pytest

from classifold.runtime import progress
from classifold.runtime.progress import format_speed, track


@pytest.mark.parametrize(
    ("speed", "text"), [(27_751.4, "27,751"), (10, "10"), (4.26, "4.3"), (0.0625, "0.062")]
)
def test_a_speed_has_at_least_two_digits_also_below_one_item_per_second(speed, text):
    assert format_speed(speed) == text


def test_the_first_item_does_not_count_for_the_time_that_is_left(monkeypatch, capsys):
    # Networks load for 100 seconds before the first item; each of the others takes 10 seconds.
    times = itertools.count(100, 10)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert list(track(range(5), task="predict", total=5, unit="images")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out.splitlines() == [
        "predict: 3 of 5 images, 0.1 images/s, 20 s left",
        "predict: 5 of 5 images, 0.1 images/s, 0 s left",
    ]
