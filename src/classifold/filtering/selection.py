"""Select the images to keep, and give one reason for each excluded image."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from classifold.data.exclusions import REMEDIES
from classifold.data.image_table import TEST, UNLABELED
from classifold.data.labels import join_labels
from classifold.errors import UserError
from classifold.filtering.duplicates import bits_apart, equal_groups, linked, near_groups
from classifold.filtering.size import describe_outlier, modal_size

REASONS = ("size", "duplicate", "conflicting_labels", "limit")


# Images of these splits are never excluded: an official test split stays as it was published, and
# unlabeled images are kept for prediction.
UNTOUCHED = (TEST, UNLABELED)


class Candidate(NamedTuple):
    """An image with the values that the filter uses."""

    id: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None  # as declared in the data
    size: tuple[int, int]
    sha256: str
    perceptual_hash: str


class Excluded(NamedTuple):
    """An excluded image."""

    image: Candidate
    reason: Literal["size", "duplicate", "conflicting_labels", "limit"]
    measured: str  # its size, the image it duplicates, the labels of its duplicates, or the limit


class Duplicate(NamedTuple):
    """An image of a group of duplicates; a group is named by its first image."""

    image: Candidate
    group: str
    kind: Literal["exact", "near"]  # exact: another image of the group has equal pixels
    kept: bool


class Selection(NamedTuple):
    """The outcome of the filter."""

    kept: list[Candidate]
    excluded: list[Excluded]
    duplicates: list[Duplicate]
    groups: dict[str, str]  # id -> group, for kept images that must stay together
    modal_size: tuple[int, int]


def select(
    images: Sequence[Candidate], *, size: Mapping[str, Any], duplicates: Mapping[str, Any]
) -> Selection:
    """Exclude size outliers, then duplicates, and group the images that must stay in one split.

    Images of an official test split and unlabeled images may be listed as duplicates but are
    never excluded.

    Args:
        images: all images. Of several duplicates the first one stays, or the first of an official
            validation split if there is one.
        size: see `describe_outlier`.
        duplicates: `exact`, for equal pixels: `drop` keeps one image, `group` keeps all in one
            split, `off` does not search. `near`, for perceptual hashes at most `distance` bits
            apart: the same choices; images with different labels are grouped, not dropped.
            `conflicting`: `drop` excludes all images with equal pixels and different labels,
            since the correct label is unknown.

    Raises:
        UserError: if no image of a class remains.
    """
    modal = modal_size([image.size for image in _learnable(images)] or [images[0].size])
    excluded: dict[str, Excluded] = {}
    for image in _learnable(images):
        if measured := describe_outlier(image.size, modal=modal, settings=size):
            excluded[image.id] = Excluded(image, "size", measured)
    remaining = [image for image in images if image.id not in excluded]

    exact: list[list[int]] = []
    if duplicates["exact"] != "off" or duplicates["conflicting"] != "off":
        exact = equal_groups([image.sha256 for image in remaining])
        for positions in exact:
            _exclude(excluded, _excluded_exact([remaining[p] for p in positions], duplicates))
    near: list[list[int]] = []
    if duplicates["near"] != "off":
        # Hashes of equal pixels are equal, so each group of `exact` lies within one of these.
        hashes = [image.perceptual_hash for image in remaining]
        near = near_groups(hashes, distance=duplicates["distance"])
        if duplicates["near"] == "drop":
            for positions in near:
                group = [remaining[p] for p in positions if remaining[p].id not in excluded]
                _exclude(excluded, _excluded_near(group, duplicates["distance"]))

    duplicate_groups = linked([*exact, *near], len(remaining))
    for positions in duplicate_groups:
        group = [remaining[p] for p in positions if remaining[p].id not in excluded]
        _exclude(excluded, _excluded_across_splits(group))
    declared = equal_groups([image.group or image.id for image in remaining])
    together = linked([*duplicate_groups, *declared], len(remaining))

    kept = [image for image in remaining if image.id not in excluded]
    _require_every_class(images, kept, excluded)
    return Selection(
        kept=kept,
        excluded=[excluded[image.id] for image in images if image.id in excluded],
        duplicates=_list_duplicates(remaining, duplicate_groups, exact, excluded),
        groups=_name_groups(remaining, together, excluded),
        modal_size=modal,
    )


def _learnable(images: Iterable[Candidate]) -> list[Candidate]:
    return [image for image in images if image.split not in UNTOUCHED]


def _exclude(excluded: dict[str, Excluded], items: Iterable[Excluded]) -> None:
    excluded.update((item.image.id, item) for item in items)


def _excluded_exact(group: Sequence[Candidate], duplicates: Mapping[str, Any]) -> list[Excluded]:
    """Find the images to exclude from a group of equal pixels."""
    # In `multi`, a labeled image may have no label.
    labels = sorted({join_labels(image.labels) for image in group if image.split != UNLABELED})
    if len(labels) > 1:
        if duplicates["conflicting"] == "off":
            return []
        shown = " / ".join(label or "(no label)" for label in labels)
        return [Excluded(image, "conflicting_labels", shown) for image in _learnable(group)]
    if duplicates["exact"] != "drop":
        return []
    stay = _validation_first(_learnable(group))
    return [Excluded(image, "duplicate", stay[0].id) for image in stay[1:]]


def _excluded_near(group: Sequence[Candidate], distance: int) -> list[Excluded]:
    """Find the images to exclude from a near group: those near to a kept one of the same labels."""
    stay: list[Candidate] = []
    excluded = []
    largest_first = sorted(_learnable(group), key=lambda image: -image.size[0] * image.size[1])
    for image in _validation_first(largest_first):
        kept = next(
            (
                other
                for other in stay
                if other.labels == image.labels
                and bits_apart(other.perceptual_hash, image.perceptual_hash) <= distance
            ),
            None,
        )
        if kept is None:
            stay.append(image)
        else:
            excluded.append(Excluded(image, "duplicate", kept.id))
    return excluded


def _excluded_across_splits(group: Sequence[Candidate]) -> list[Excluded]:
    """Find the duplicates of official validation images that are not in that split."""
    held_out = next((image for image in group if image.split == "validation"), None)
    if held_out is None:
        return []
    return [
        Excluded(image, "duplicate", held_out.id)
        for image in _learnable(group)
        if image.split != "validation"
    ]


def _validation_first(images: Sequence[Candidate]) -> list[Candidate]:
    return sorted(images, key=lambda image: image.split != "validation")


def _list_duplicates(
    images: Sequence[Candidate],
    groups: Iterable[Sequence[int]],
    exact: Iterable[Sequence[int]],
    excluded: Mapping[str, Excluded],
) -> list[Duplicate]:
    same = {position for group in exact for position in group}
    return [
        Duplicate(
            image=images[position],
            group=images[group[0]].id,
            kind="exact" if position in same else "near",
            kept=images[position].id not in excluded,
        )
        for group in groups
        for position in group
    ]


def _name_groups(
    images: Sequence[Candidate],
    groups: Iterable[Sequence[int]],
    excluded: Mapping[str, Excluded],
) -> dict[str, str]:
    group_of: dict[str, str] = {}
    for group in groups:
        stay = [images[position].id for position in group if images[position].id not in excluded]
        if len(stay) > 1:
            group_of.update(dict.fromkeys(stay, images[group[0]].id))
    return group_of


def _require_every_class(
    images: Sequence[Candidate], kept: Sequence[Candidate], excluded: Mapping[str, Excluded]
) -> None:
    before = {label for image in _learnable(images) for label in image.labels}
    after = {label for image in _learnable(kept) for label in image.labels}
    if lost := sorted(before - after):
        reasons = Counter(
            excluded[image.id].reason
            for image in _learnable(images)
            if not set(lost).isdisjoint(image.labels)
        )
        counts = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in reasons.items())
        remedies = ". ".join(REMEDIES[reason] for reason in reasons)
        raise UserError(
            f"filter: no image of class {', '.join(map(repr, lost))} remains, got "
            f"{reasons.total():,} excluded ({counts}). {remedies}. Or remove the class from the "
            "data."
        )
