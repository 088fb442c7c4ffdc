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
    split: str | None  # official part


def assign_splits(
    images: Sequence[Image], *, fractions: Mapping[str, float], seed: int
) -> list[str]:
    """Assign each image to a part.

    Images of an official validation or test part stay there. Where there is such a part, its
    share is not taken from the others: with an official test, `validation` is that share of
    the remaining images, and all the rest is train.

    Args:
        images: those with a label, or labelled as having none.
        fractions: `train`, `validation` and `test`, which sum to 1.
        seed: of the order in which groups are shared out.

    Raises:
        UserError: if a class has fewer groups than there are parts.
    """
    official = {image.split for image in images} & set(PARTS[1:])
    pool = [position for position, image in enumerate(images) if image.split not in official]
    taken = {split: fractions[split] for split in PARTS[1:] if split not in official}
    splits = [str(image.split) for image in images]
    shared_out = stratify(
        [images[position].labels for position in pool],
        [images[position].group for position in pool],
        fractions={"train": 1 - sum(taken.values()), **taken},
        seed=seed,
    )
    for position, split in zip(pool, shared_out, strict=True):
        splits[position] = split
    return splits


def class_proportions(
    images: Sequence[Image], splits: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Measure, for each part, the share of its images that bear each class."""
    classes = sorted({label for image in images for label in image.labels})
    n_images = Counter(splits)
    counts = {split: Counter[str]() for split in PARTS}
    for image, split in zip(images, splits, strict=True):
        counts[split].update(image.labels)
    return {
        split: {name: count[name] / n_images[split] for name in classes} if n_images[split] else {}
        for split, count in counts.items()
    }


def split_metrics(images: Sequence[Image], splits: Sequence[str]) -> dict[str, Any]:
    """Count what `metrics/split.json` tells of a split."""
    n_images = Counter(splits)
    sides: dict[str, set[str]] = defaultdict(set)
    for image, split in zip(images, splits, strict=True):
        sides[image.group].add(split)
    fractions = class_proportions(images, splits)
    filled = [share for share in fractions.values() if share]
    gaps = [
        max(share[name] for share in filled) - min(share[name] for share in filled)
        for name in filled[0]
    ]
    return {
        **{f"n_{split}": n_images[split] for split in PARTS},
        "class_proportions": fractions,
        "max_proportion_gap": max(gaps, default=0.0),
        "n_groups": len(sides),
        "n_groups_across_splits": sum(len(side) > 1 for side in sides.values()),
    }
