"""Outliers by image size.

Source: report 002, "Image dimensions": photos that do not have the usual size are visual
outliers too, so they are left out.
"""

from collections import Counter
from collections.abc import Sequence


def modal_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Find the most frequent (width, height); of equally frequent ones, the largest."""
    counts = Counter(sizes)
    return max(counts, key=lambda size: (counts[size], size[0] * size[1], size))


def is_outlier(size: tuple[int, int], *, modal: tuple[int, int], tolerance: int) -> bool:
    """Tell whether width or height is more than `tolerance` pixels off the modal size."""
    return any(abs(side - usual) > tolerance for side, usual in zip(size, modal, strict=True))
