"""Summarize how deep images were converted: for the log, and for `ranges.json`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from classifold.data.deep_ranges import format_value
from classifold.ingest.deep_fit import FittedRange, fit_ranges
from classifold.ingest.deep_image import MIN_LEVELS, DeepUse, Measure
from classifold.runtime.progress import log

REMEDY = "Set ingest.range to [black, white] if other values matter."


@dataclass
class _Uses:
    """The images that were converted with one range."""

    low: float
    high: float
    n_images: int = 0
    n_clipped: int = 0
    n_few_levels: int = 0
    clipped: str = ""  # an example
    few_levels: str = ""


class DeepSummary:
    """The range of each sample type, and the images that were converted with it."""

    def __init__(self, fitted: Mapping[str, FittedRange]) -> None:
        self.fitted = dict(fitted)
        self._uses: dict[str, _Uses] = {}

    def fit(self, measures: Iterable[tuple[str | None, Measure]]) -> None:
        """Fit the ranges, and log them."""
        self.fitted = fit_ranges(measures)
        for kind, fitted in self.fitted.items():
            log(f"  {describe_fit(kind, fitted)}")

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The fitted ranges."""
        return {kind: (fitted.low, fitted.high) for kind, fitted in self.fitted.items()}

    def add(self, image_id: str, use: DeepUse | None) -> None:
        """Count a converted image, if it is deep."""
        if use is None:
            return
        uses = self._uses.setdefault(use.kind, _Uses(*use.limits))
        uses.n_images += 1
        if use.clipped:
            uses.n_clipped += 1
            uses.clipped = uses.clipped or image_id
        if use.few_levels:
            uses.n_few_levels += 1
            uses.few_levels = uses.few_levels or image_id

    def describe(self) -> dict[str, dict[str, Any]]:
        """Describe each sample type, as `ranges.json` does."""
        described = {}
        for kind in sorted(self._uses.keys() | self.fitted.keys()):
            fitted = self.fitted.get(kind)
            uses = self._uses.get(kind) or _Uses(*self.ranges()[kind])
            described[kind] = {
                "low": uses.low,
                "high": uses.high,
                "reason": fitted.reason if fitted else "declared by the files",
                "n_images": uses.n_images,
                "n_clipped": uses.n_clipped,
                "n_few_levels": uses.n_few_levels,
                "n_fitted": fitted.n_images if fitted else 0,
                "seen": fitted.seen if fitted else None,
                "missing": fitted.missing if fitted else (),
            }
        return described

    def warnings(self) -> Iterator[str]:
        """Format what the owner of the images should know, one line each."""
        for kind, uses in sorted(self._uses.items()):
            limits = f"{format_value(uses.low)} to {format_value(uses.high)}"
            of = f"of {uses.n_images:,} deep images ({kind})"
            if uses.n_few_levels:
                yield (
                    f"{uses.n_few_levels:,} {of} have fewer than {MIN_LEVELS} gray levels "
                    f"after scaling from {limits}, such as {uses.few_levels!r}. {REMEDY}"
                )
            if uses.n_clipped:
                yield (
                    f"{uses.n_clipped:,} {of} have values outside of {limits}, which are "
                    f"clipped, such as {uses.clipped!r}. {REMEDY}"
                )


def describe_use(use: DeepUse) -> str | None:
    """Describe what is unusual about a new deep image; None if nothing is."""
    limits = f"{format_value(use.limits[0])} to {format_value(use.limits[1])}"
    remarks = []
    if not use.known:
        remarks.append(f"a deep image ({use.kind}), unlike all training images")
    if use.clipped:
        remarks.append(f"{max(use.clipped, 0.0001):.2%} of the values were clipped")
    if use.few_levels:
        remarks.append(f"fewer than {MIN_LEVELS} gray levels are left")
    return f"{'; '.join(remarks)}; the range is {limits}" if remarks else None


def describe_fit(kind: str, fitted: FittedRange) -> str:
    """Describe a fitted range for the log."""
    low, high = format_value(fitted.low), format_value(fitted.high)
    text = f"{kind}: {low} becomes black, {high} white ({fitted.reason})"
    if fitted.seen:
        smallest, largest = map(format_value, fitted.seen)
        text += f"; {fitted.n_images:,} deep images have values from {smallest} to {largest}"
    if fitted.missing:
        text += f"; treated as missing: {', '.join(map(format_value, fitted.missing))}"
    return text
