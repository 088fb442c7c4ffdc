"""Find outliers by image size.

Source: report 002, "Image dimensions": photos of an unusual size are visual outliers too, so they
are excluded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Size = tuple[int, int]  # width, height in pixels

MEASURES = {
    "width": lambda width, height: width,
    "height": lambda width, height: height,
    "area": lambda width, height: width * height,
    "aspect": lambda width, height: width / height,
}


def modal_size(sizes: Sequence[Size]) -> Size:
    """Find the most frequent (width, height); of equally frequent ones, the largest."""
    counts = Counter(sizes)
    return max(counts, key=lambda size: (counts[size], size[0] * size[1], size))


def describe_outlier(size: Size, *, modal: Size, settings: Mapping[str, Any]) -> str | None:
    """Describe how a size is an outlier.

    Args:
        size: width and height of an image.
        modal: the most frequent size.
        settings: `rule` is `modal` (width and height at most `tolerance` pixels off), `ranges`
            ([smallest, largest] of `width`, `height`, `area` in pixels and `aspect`, width
            over height, each optional) or `none`.

    Returns:
        The measured values, such as "64x500, height 500"; None for a size that is no outlier.
    """
    shown = f"{size[0]}x{size[1]}"
    match settings["rule"]:
        case "modal":
            off = (abs(side - usual) for side, usual in zip(size, modal, strict=True))
            return shown if max(off) > settings["tolerance"] else None
        case "ranges":
            for name, measure in MEASURES.items():
                measured = measure(*size)
                smallest, largest = settings.get(name) or (measured, measured)
                if not smallest <= measured <= largest:
                    return f"{shown}, {name} {measured:.6g}"
    return None
