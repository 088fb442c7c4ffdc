"""Numbers as text, and the measure that models are compared by."""

from collections.abc import Sequence
from typing import NamedTuple

# From so many images on, a second decimal of a percentage is worth reading.
MANY_IMAGES = 10_000
MOST_DECIMALS = 6

NOTHING = "–"
SPACE = "\u00a0"  # keeps a number and its unit on one line


def percent(share: float | None, *, n_images: int = 0) -> str:
    """A fraction in per cent; never rounded to a whole 0 or 100 % that it is not."""
    if share is None:
        return NOTHING
    decimals = 2 if n_images >= MANY_IMAGES else 1
    while (
        decimals < MOST_DECIMALS and 0 < share < 1 and float(f"{share:.{decimals + 2}f}") in (0, 1)
    ):
        decimals += 1
    return f"{share * 100:.{decimals}f}{SPACE}%"


def points(difference: float | None) -> str:
    """A difference of two fractions in percentage points, signed."""
    return NOTHING if difference is None else _signed(difference * 100, decimals=1)


def interval(ends: Sequence[float], *, n_images: int = 0) -> str:
    """A 95 % interval of a fraction."""
    low, high = (percent(end, n_images=n_images) for end in ends)
    return f"{low.removesuffix(SPACE + '%')} to {high}"


def decimal(value: float | None) -> str:
    """A score that is no percentage, to three places."""
    return NOTHING if value is None else f"{value:.3f}"


def probability_of_chance(p_value: float) -> str:
    """A p-value as papers give it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def count(number: int, noun: str, *, plural: str = "") -> str:
    """A number of things: "1 image", "1,797 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def first_upper(words: str) -> str:
    """The beginning of a sentence; names further on stay as they are."""
    return words[:1].upper() + words[1:]


def duration(seconds: float | None) -> str:
    """A time in the units a person would say it in."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {left}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


class Measure(NamedTuple):
    """By what models are compared where images bear one label, or several."""

    key: str  # in files of metrics
    words: str
    unit: str  # of differences, if they have one

    def score(self, value: float | None, *, n_images: int = 0) -> str:
        """A score: accuracy in per cent, micro F1 to three places."""
        return percent(value, n_images=n_images) if self.key == "accuracy" else decimal(value)

    def interval(self, ends: Sequence[float], *, n_images: int = 0) -> str:
        """The 95 % interval of a score."""
        if self.key == "accuracy":
            return interval(ends, n_images=n_images)
        return " to ".join(map(decimal, ends))

    def difference(self, value: float | None) -> str:
        """A difference of two scores, signed: accuracy in percentage points."""
        if value is None or self.key == "accuracy":
            return points(value)
        return _signed(value, decimals=3)

    def differences(self, ends: Sequence[float]) -> str:
        """The 95 % interval of a difference."""
        return " to ".join(map(self.difference, ends))


MEASURES = {
    "single": Measure("accuracy", "accuracy", "points"),
    "multi": Measure("micro_f1", "micro F1", ""),
}


def _signed(number: float, *, decimals: int) -> str:
    rounded = round(number, decimals)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.{decimals}f}"
