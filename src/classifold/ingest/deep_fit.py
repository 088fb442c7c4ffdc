"""Fit one range per sample type to the deep images of a data set."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from classifold.data.image_table import TEST, UNLABELED
from classifold.data.json_file import rounded
from classifold.errors import UserError
from classifold.ingest.deep_image import FLOAT, Measure, type_range

# Bit depths of cameras and scanners, whose values are often stored in more bits. A type's range is
# a depth of its own.
DEPTHS = (8, 10, 12, 14, 16, 32)

# A bit depth is used if the values span at least this fraction of it.
MIN_SPAN = 0.5

# A sentinel that is farther from all other values than this fraction of their span is missing data.
MIN_GAP = 0.5

# Images of these official splits are treated like new images.
NOT_FITTED = (TEST, UNLABELED)


class FittedRange(NamedTuple):
    """The range of a sample type, and why."""

    low: float  # becomes black
    high: float  # becomes white
    reason: str
    n_images: int  # that it was fitted on
    seen: tuple[float, float] | None  # the values of these images
    missing: tuple[float, ...] = ()  # values that were treated as missing


def fit_ranges(measures: Iterable[tuple[str | None, Measure]]) -> dict[str, FittedRange]:
    """Fit a range per sample type: a bit depth that the values use, or else what they span.

    A bit depth is a property of the format, which one more image rarely changes. Images of an
    official test split, and unlabeled ones, are not looked at, as if they came later. A type that
    only they have gets its own range (floats: 0 to 1).

    Args:
        measures: official split and measure of each deep image.
    """
    fitted: dict[str, list[Measure]] = {}
    for split, measure in measures:
        of_kind = fitted.setdefault(measure.kind, [])
        if split not in NOT_FITTED:
            of_kind.append(measure)
    return {kind: _fit(kind, of_kind) for kind, of_kind in sorted(fitted.items())}


def set_by_hand(low: float, high: float) -> FittedRange:
    """Make the range that `ingest.range` sets.

    Raises:
        UserError: if the two values are nearly equal.
    """
    low, high = rounded(low), rounded(high)
    if low >= high:
        raise UserError(
            f"ingest.range: must be two values that differ by at least 0.000001, got {low:g} and "
            f"{high:g}. Correct it, or set it to auto."
        )
    return FittedRange(low, high, "ingest.range", n_images=0, seen=None)


def _fit(kind: str, measures: list[Measure]) -> FittedRange:
    lows = [measure.low for measure in measures if measure.low is not None]
    highs = [measure.high for measure in measures if measure.high is not None]
    if not lows:
        low, high = type_range(kind)
        reason = "the type's range, since no image outside of the official test split has values"
        return FittedRange(low, high, reason, len(measures), seen=None)
    low, high = min(lows), max(highs)
    missing = []
    # The nearest first: data down to -999 may go on to -9999.
    for sentinel in sorted({s for measure in measures for s in measure.sentinels}, reverse=True):
        if low - sentinel > MIN_GAP * (high - low):
            missing.append(sentinel)
        else:
            low, high = min(low, sentinel), max(high, sentinel)
    seen = (low, high)
    # The same numbers as in the files, which `predict` reads.
    span = rounded(low), rounded(high)
    limits, reason = _depth(kind, low, high) or (span, "what the images span")
    if limits[0] == limits[1]:
        bottom, top = type_range(kind)
        limits = (bottom, top) if bottom <= low <= top else (span[0], span[0] + 1)
        reason = "all values are equal"
    return FittedRange(*limits, reason, len(measures), seen, tuple(missing))


def _depth(kind: str, low: float, high: float) -> tuple[tuple[float, float], str] | None:
    """Find the range of a bit depth, or of the type, that the values use."""
    candidates: Mapping[tuple[float, float], str] = {
        **({(0.0, 1.0): "0 to 1"} if kind == FLOAT else {}),
        **{(0.0, 2.0**bits - 1): f"{bits} bits" for bits in DEPTHS},
        type_range(kind): "the type's range",
    }
    for limits, reason in candidates.items():
        bottom, top = limits
        if bottom <= low and high <= top:
            return (limits, reason) if high - low >= MIN_SPAN * (top - bottom) else None
    return None
