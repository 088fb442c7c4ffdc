"""Numbers as text, and the metric by which models are compared."""

from collections.abc import Sequence
from typing import NamedTuple

# With fewer images, the second decimal of a percentage is noise.
MIN_IMAGES_FOR_TWO_DECIMALS = 10_000
MAX_DECIMALS = 6

NOT_AVAILABLE = "–"
SPACE = "\u00a0"  # keeps a number and its unit on one line
PERCENT = f"{SPACE}%"


def percent(fraction: float | None, *, n_images: int = 0) -> str:
    """Format a fraction as a percentage; only 0 and 1 are rounded to 0 % and 100 %."""
    if fraction is None:
        return NOT_AVAILABLE
    decimals = 2 if n_images >= MIN_IMAGES_FOR_TWO_DECIMALS else 1
    while (
        decimals < MAX_DECIMALS
        and 0 < fraction < 1
        and float(f"{fraction:.{decimals + 2}f}") in (0, 1)
    ):
        decimals += 1
    return f"{fraction * 100:.{decimals}f}{PERCENT}"


def points(difference: float | None) -> str:
    """Format a difference of two fractions in percentage points, with its sign."""
    return NOT_AVAILABLE if difference is None else _signed(difference * 100, decimals=1)


def interval(ends: Sequence[float], *, n_images: int = 0) -> str:
    """Format an interval of a fraction in percent."""
    low, high = (percent(end, n_images=n_images) for end in ends)
    return f"{low.removesuffix(PERCENT)} to {high}"


def decimal(value: float | None) -> str:
    """Format a score with three decimals."""
    return NOT_AVAILABLE if value is None else f"{value:.3f}"


def format_p_value(p_value: float) -> str:
    """Format a p-value as in a paper."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def count(number: int, noun: str, *, plural: str = "") -> str:
    """Format a number of things: "1 image", "1,797 images"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def capitalize_first(text: str) -> str:
    """Capitalize the first character; the rest stays as it is, unlike with `str.capitalize`."""
    return text[:1].upper() + text[1:]


def duration(seconds: float | None) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds is None:
        return NOT_AVAILABLE
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


class MainMetric(NamedTuple):
    """The metric by which models of a task are compared."""

    key: str  # in metrics/*.json
    name: str
    unit: str  # unit of differences, if they have one

    def score(self, value: float | None, *, n_images: int = 0) -> str:
        """Format a score: accuracy in percent, micro F1 with three decimals."""
        return percent(value, n_images=n_images) if self.key == "accuracy" else decimal(value)

    def interval(self, ends: Sequence[float], *, n_images: int = 0) -> str:
        """Format the 95 % interval of a score."""
        if self.key == "accuracy":
            return interval(ends, n_images=n_images)
        return " to ".join(map(decimal, ends))

    def difference(self, value: float | None) -> str:
        """Format a difference of two scores with its sign: accuracy in percentage points."""
        if value is None or self.key == "accuracy":
            return points(value)
        return _signed(value, decimals=3)

    def differences(self, ends: Sequence[float]) -> str:
        """Format the 95 % interval of a difference."""
        return " to ".join(map(self.difference, ends))


MAIN_METRICS = {
    "single": MainMetric("accuracy", "accuracy", "points"),
    "multi": MainMetric("micro_f1", "micro F1", ""),
}


def _signed(number: float, *, decimals: int) -> str:
    rounded = round(number, decimals)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.{decimals}f}"
