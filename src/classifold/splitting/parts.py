"""Who goes where: official parts stay, the rest is shared out."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from classifold.splitting.stratified import stratify

PARTS = ("train", "validation", "test")


class Image(NamedTuple):
    """An image to be shared out."""

    id: str
    labels: tuple[str, ...]
    group: str  # images of one group stay together; its own id where it has no copies
    part: str | None  # official part


def assign_parts(images: Sequence[Image], *, shares: Mapping[str, float], seed: int) -> list[str]:
    """Assign each image to a part.

    Images of an official validation or test part stay there. Where there is such a part, its
    share is not taken from the others: with an official test, `validation` is that share of
    the remaining images, and all the rest is train.

    Args:
        images: those with a label, or labelled as having none.
        shares: `train`, `validation` and `test`, which sum to 1.
        seed: of the order in which groups are shared out.

    Raises:
        UserError: if a class has fewer groups than there are parts.
    """
    official = {image.part for image in images} & set(PARTS[1:])
    pool = [position for position, image in enumerate(images) if image.part not in official]
    taken = {part: shares[part] for part in PARTS[1:] if part not in official}
    parts = [str(image.part) for image in images]
    shared_out = stratify(
        [images[position].labels for position in pool],
        [images[position].group for position in pool],
        shares={"train": 1 - sum(taken.values()), **taken},
        seed=seed,
    )
    for position, part in zip(pool, shared_out, strict=True):
        parts[position] = part
    return parts


def class_shares(images: Sequence[Image], parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure, for each part, the share of its images that bear each class."""
    classes = sorted({label for image in images for label in image.labels})
    n_images = Counter(parts)
    counts = {part: Counter[str]() for part in PARTS}
    for image, part in zip(images, parts, strict=True):
        counts[part].update(image.labels)
    return {
        part: {name: count[name] / n_images[part] for name in classes} if n_images[part] else {}
        for part, count in counts.items()
    }


def split_metrics(images: Sequence[Image], parts: Sequence[str]) -> dict[str, Any]:
    """Count what `metrics/split.json` tells of a split."""
    n_images = Counter(parts)
    sides: dict[str, set[str]] = defaultdict(set)
    for image, part in zip(images, parts, strict=True):
        sides[image.group].add(part)
    shares = class_shares(images, parts)
    filled = [share for share in shares.values() if share]
    gaps = [
        max(share[name] for share in filled) - min(share[name] for share in filled)
        for name in filled[0]
    ]
    return {
        **{f"n_{part}": n_images[part] for part in PARTS},
        "class_shares": shares,
        "max_share_gap": max(gaps, default=0.0),
        "n_groups": len(sides),
        "n_groups_across_parts": sum(len(side) > 1 for side in sides.values()),
    }
