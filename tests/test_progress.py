"""Log lines of progress."""

import pytest

from classifold.runtime.progress import format_speed


@pytest.mark.parametrize(
    ("speed", "text"), [(27_751.4, "27,751"), (10, "10"), (4.26, "4.3"), (0.0625, "0.062")]
)
def test_a_speed_has_at_least_two_digits_also_below_one_item_per_second(speed, text):
    assert format_speed(speed) == text
