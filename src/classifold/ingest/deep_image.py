"""Deep images: more than 8 bits per channel, signed integers, or floats, and their 8-bit values."""

from typing import NamedTuple

import numpy as np

from classifold.data.deep_ranges import ANY, Ranges
from classifold.ingest.limits import PIXELS_PER_BAND, row_bands

FLOAT = "float"

# Values that stand for missing ones by convention; `fit_ranges` decides which are data.
SENTINELS = (-999, -9999, -32767, -32768, -99999, -999999, -(2**31))

# Larger floats stand for missing values (the smallest float32 in GIS, 9.97e36 in netCDF).
# As float64: float16 has no such number.
MAX_MAGNITUDE = np.float64(1e30)

# Fewer gray levels than this are reported, if the image had more values.
MIN_LEVELS = 32


class DeepImage(NamedTuple):
    """The stored values of an image."""

    values: np.ndarray  # (H, W) gray, (H, W, 3) RGB or (H, W, 4) CMYK; no complex numbers
    mode: str  # Pillow's mode of a similar image, with "A" or "a" if there is alpha
    top: int | None = None  # the largest value by the file's header; None: any of the type
    alpha: np.ndarray | None = None  # uint8 (H, W)
    inverted: bool = False  # the smallest value is white
    missing: float | None = None  # the value that the file declares as missing
    orientation: int = 1  # as in EXIF
    animated: bool = False  # whether the file has several images

    @property
    def kind(self) -> str:
        """The sample type: images of one type share a range."""
        kind = _kind(self.values)
        return kind if self.top is None else f"{kind} up to {self.top}"

    @property
    def is_deep(self) -> bool:
        """Whether the range is a choice; inks and palettes have one range, and are 8-bit here."""
        return self.values.dtype != np.uint8

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.values.shape[1], self.values.shape[0]


class Measure(NamedTuple):
    """The values that an image spans; those of `SENTINELS` are apart."""

    kind: str
    low: float | None  # None: there is no value but missing ones
    high: float | None
    sentinels: tuple[float, ...]


class DeepUse(NamedTuple):
    """How a range suits an image."""

    kind: str  # the key of the range
    limits: tuple[float, float]
    known: bool  # whether training images, the file or `ingest.range` set the range
    clipped: float  # fraction of the values outside of the range, not counting missing ones
    few_levels: bool  # fewer than MIN_LEVELS gray levels remain of more values


def type_range(kind: str) -> tuple[float, float]:
    """Return the range of a sample type: of integers all values, of floats 0 to 1."""
    if kind == FLOAT:
        return 0.0, 1.0
    limits = np.iinfo(kind)
    return float(limits.min), float(limits.max)


def scale_to_8_bit(values: np.ndarray, top: int | None = None) -> np.ndarray:
    """Scale values whose range is not a choice, such as alpha, to uint8.

    Args:
        values: values of any shape.
        top: the value that becomes 255; by default 1 for floats, and the largest of an integer.
    """
    most = top or type_range(_kind(values))[1]
    scaled = np.empty(values.shape, np.uint8)
    for row, line in zip(scaled, values, strict=True):
        row[:] = np.rint(np.nan_to_num(line.astype(np.float64)) * 255 / most).clip(0, 255)
    return scaled


def range_of(deep: DeepImage, ranges: Ranges) -> tuple[str, tuple[float, float]]:
    """Choose the range for an image: set by hand, declared by the file, or of its sample type.

    Returns:
        The sample type that the range is for, and the range.
    """
    kind = deep.kind
    if ANY in ranges and deep.is_deep:
        kind = ANY
    if kind not in ranges:
        return kind, (0, deep.top) if deep.top is not None else type_range(kind)
    low, high = ranges[kind]
    return kind, (low, high)


def measure(deep: DeepImage) -> Measure:
    """Find the smallest and the largest value, without missing and transparent ones."""
    low, high = np.inf, -np.inf
    sentinels: set[float] = set()
    for band in row_bands(*deep.size):
        values = deep.values[band]
        if deep.alpha is not None and not deep.alpha[band].all():
            values = values[deep.alpha[band] > 0]
        if _has_missing(deep):
            values = values[np.isfinite(values) & ~_is_missing(values, deep.missing)]
        if values.size and values.min() <= max(SENTINELS):
            is_sentinel = np.isin(values, SENTINELS)
            sentinels.update(np.unique(values[is_sentinel]).tolist())
            values = values[~is_sentinel]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        return Measure(deep.kind, None, None, tuple(sorted(sentinels)))
    return Measure(deep.kind, low, high, tuple(sorted(sentinels)))


class Scaler:
    """Scales the values of an image to 8 bit, in bands of rows.

    Values outside of the range are clipped; missing ones become black.
    """

    def __init__(self, deep: DeepImage, ranges: Ranges) -> None:
        self.deep = deep
        self._ranges = ranges
        self.kind, self.limits = range_of(deep, ranges)
        self._n_clipped = 0
        self._levels = np.zeros(256, bool)

    def scale(self, band: slice) -> np.ndarray:
        """Scale a band to uint8, in the shape of the values."""
        deep, (low, high) = self.deep, self.limits
        values = deep.values[band].astype(np.float64)
        missing = _is_missing(values, deep.missing) if _has_missing(deep) else None
        if missing is not None:
            values[missing] = low
            np.nan_to_num(values, copy=False, posinf=high, neginf=low)
        # Half a gray level beyond the range is rounding, not clipping.
        margin = (high - low) / 510
        outside = (values < low - margin) | (values > high + margin)
        if outside.any():
            self._n_clipped += int((outside & ~np.isin(values, SENTINELS)).sum())
        values -= low
        values *= 255
        values /= high - low
        scaled = np.rint(values, out=values).clip(0, 255, out=values).astype(np.uint8)
        if deep.inverted:
            np.subtract(255, scaled, out=scaled)
        if missing is not None:
            scaled[missing] = 0
        self._levels |= np.bincount(scaled.reshape(-1), minlength=256) > 0
        return scaled

    def use(self) -> DeepUse:
        """Describe how the range suits the image, after all bands were scaled."""
        values = self.deep.values
        few = bool(self._levels.sum() < MIN_LEVELS)
        if few:
            step = 1 + values.size // PIXELS_PER_BAND
            few = len(np.unique(values.reshape(-1)[::step])) >= MIN_LEVELS
        known = self.kind in self._ranges or self.deep.top is not None
        return DeepUse(self.kind, self.limits, known, self._n_clipped / max(1, values.size), few)


def _kind(values: np.ndarray) -> str:
    return FLOAT if values.dtype.kind == "f" else values.dtype.name


def _has_missing(deep: DeepImage) -> bool:
    return deep.values.dtype.kind == "f" or deep.missing is not None


def _is_missing(values: np.ndarray, declared: float | None) -> np.ndarray:
    """Mark the values that are NaN, huge but not infinite, or declared as missing."""
    missing = np.isnan(values)
    missing |= (np.abs(values) > MAX_MAGNITUDE) & ~np.isinf(values)
    if declared is not None:
        missing |= values == declared
    return missing
