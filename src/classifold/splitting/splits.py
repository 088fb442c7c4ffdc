"""Assign images to splits: official splits stay, the other images are split by fractions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from classifold.splitting.rare_classes import in_rare_classes
from classifold.splitting.scikit_multilearn import stratify_with_scikit_multilearn
from classifold.splitting.stratified import stratify

SPLITS = ("train", "validation", "test")
CALIBRATION = "calibration"  # an optional split, on which nothing is chosen or trained
METHODS = {"grouped": stratify, "scikit-multilearn": stratify_with_scikit_multilearn}


class Image(NamedTuple):
    """An image to be assigned to a split."""

    id: str
    labels: tuple[str, ...]
    group: str  # images of one group stay together; an image without duplicates is its own group
    split: str | None  # official split


def assign_splits(
    images: Sequence[Image], *, fractions: Mapping[str, float | None], method: str, seed: int
) -> list[str]:
    """Assign each image to a split.

    Images of an official validation or test split stay there, and its fraction is not taken
    from the other images. With an official test split, `validation` and `calibration` are those
    fractions of the remaining images, and the rest is train. The images of a class that has fewer
    groups than there are splits to fill are all in train.

    Args:
        images: those with a label, or labeled as having none.
        fractions: `train`, `validation`, `test` and, if it is wanted, `calibration`; they sum to 1.
        method: a key of METHODS.
        seed: seed of the order in which groups are assigned.

    Raises:
        UserError: if all classes have fewer groups than there are splits.
    """
    official = {image.split for image in images} & set(SPLITS[1:])
    remaining = [position for position, image in enumerate(images) if image.split not in official]
    held_out = {split: fractions[split] or 0.0 for split in SPLITS[1:] if split not in official}
    if calibration := fractions.get(CALIBRATION):
        held_out[CALIBRATION] = calibration
    splits = [str(image.split) for image in images]
    is_rare = in_rare_classes(
        [images[position].labels for position in remaining],
        [images[position].group for position in remaining],
        n_splits=1 + sum(fraction > 0 for fraction in held_out.values()),
    )
    for position, rare in zip(remaining, is_rare, strict=True):
        if rare:
            splits[position] = "train"
    remaining = [position for position, rare in zip(remaining, is_rare, strict=True) if not rare]
    assigned = METHODS[method](
        [images[position].labels for position in remaining],
        [images[position].group for position in remaining],
        fractions={"train": 1 - sum(held_out.values()), **held_out},
        seed=seed,
    )
    for position, split in zip(remaining, assigned, strict=True):
        splits[position] = split
    return splits


def class_proportions(
    images: Sequence[Image], splits: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Measure, for each split, the proportion of its images that have each class."""
    classes = sorted({label for image in images for label in image.labels})
    n_images = Counter(splits)
    counts = {split: Counter[str]() for split in used_splits(splits)}
    for image, split in zip(images, splits, strict=True):
        counts[split].update(image.labels)
    return {
        split: {name: count[name] / n_images[split] for name in classes} if n_images[split] else {}
        for split, count in counts.items()
    }


def used_splits(splits: Collection[str]) -> tuple[str, ...]:
    """Return the names of the splits; `calibration` only if an image is in it."""
    return (*SPLITS, CALIBRATION) if CALIBRATION in splits else SPLITS


def split_metrics(images: Sequence[Image], splits: Sequence[str]) -> dict[str, Any]:
    """Compute what `metrics/split.json` reports of a split."""
    n_images = Counter(splits)
    splits_of: dict[str, set[str]] = defaultdict(set)
    for image, split in zip(images, splits, strict=True):
        splits_of[image.group].add(split)
    proportions = class_proportions(images, splits)
    filled = [of_split for of_split in proportions.values() if of_split]
    gaps = [
        max(of_split[name] for of_split in filled) - min(of_split[name] for of_split in filled)
        for name in filled[0]
    ]
    return {
        **{f"n_{split}": n_images[split] for split in used_splits(splits)},
        "class_proportions": proportions,
        "max_proportion_gap": max(gaps, default=0.0),
        "n_groups": len(splits_of),
        "n_groups_across_splits": sum(len(of_group) > 1 for of_group in splits_of.values()),
    }
