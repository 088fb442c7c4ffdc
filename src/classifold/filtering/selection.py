"""Who stays and who is left out, each for one reason, the first that applies."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from classifold.data.image_table import HELD_OUT, UNLABELLED
from classifold.errors import UserError
from classifold.filtering.duplicates import bits_apart, equal_groups, linked, near_groups
from classifold.filtering.size import modal_size, unusual

REASONS = ("size", "duplicate", "conflicting_labels", "limit")

# Images of these parts are never left out: an official test stays as it was published, and
# whoever has images without a label wants an answer for each.
UNTOUCHED = (HELD_OUT, UNLABELLED)


class Candidate(NamedTuple):
    """What the filter knows of an image."""

    id: str
    labels: tuple[str, ...]
    split: str | None
    group: str | None  # as the data's owner declared it
    size: tuple[int, int]
    sha256: str
    perceptual_hash: str


class Excluded(NamedTuple):
    """An image left out."""

    image: Candidate
    reason: Literal["size", "duplicate", "conflicting_labels", "limit"]
    measured: str  # its size, the image it is a copy of, the labels of its copies, or the limit


class Copy(NamedTuple):
    """An image of a group of copies; a group is named by its first image."""

    image: Candidate
    group: str
    kind: Literal["exact", "near"]  # exact: another of the group has the very same pixels
    kept: bool


class Selection(NamedTuple):
    """The outcome of the filter."""

    kept: list[Candidate]
    excluded: list[Excluded]
    copies: list[Copy]
    groups: dict[str, str]  # id -> group, for kept images that must stay together
    modal_size: tuple[int, int]


def select(
    images: Sequence[Candidate], *, size: Mapping[str, Any], duplicates: Mapping[str, Any]
) -> Selection:
    """Leave out size outliers, then copies, and tie together what must not be parted.

    Images of an official test, and those without a label, are listed as copies but never left
    out.

    Args:
        images: all images; their order decides which of several copies stays, the first (of an
            official validation part, if there are).
        size: see `unusual`.
        duplicates: `exact`, for equal pixels: `drop` keeps one copy, `group` keeps all and ties
            them together for the split, `off` does not look. `near`, for perceptual hashes at
            most `distance` bits apart: the same choices; images with different labels are
            tied together, not dropped. `conflicting`: `drop` leaves out all images of equal
            pixels that bear different labels, since nobody knows which is right.

    Raises:
        UserError: if no image of a class is left.
    """
    modal = modal_size([image.size for image in _learnable(images)] or [images[0].size])
    excluded: dict[str, Excluded] = {}
    for image in _learnable(images):
        if measured := unusual(image.size, modal=modal, settings=size):
            excluded[image.id] = Excluded(image, "size", measured)
    remaining = [image for image in images if image.id not in excluded]

    exact: list[list[int]] = []
    if duplicates["exact"] != "off" or duplicates["conflicting"] != "off":
        exact = equal_groups([image.sha256 for image in remaining])
        for positions in exact:
            _leave_out(excluded, _exact_left_out([remaining[p] for p in positions], duplicates))
    near: list[list[int]] = []
    if duplicates["near"] != "off":
        # Hashes of equal pixels are equal, so each group of `exact` lies within one of these.
        hashes = [image.perceptual_hash for image in remaining]
        near = near_groups(hashes, distance=duplicates["distance"])
        if duplicates["near"] == "drop":
            for positions in near:
                group = [remaining[p] for p in positions if remaining[p].id not in excluded]
                _leave_out(excluded, _near_left_out(group, duplicates["distance"]))

    copies = linked([*exact, *near], len(remaining))
    for positions in copies:
        group = [remaining[p] for p in positions if remaining[p].id not in excluded]
        _leave_out(excluded, _torn_left_out(group))
    declared = equal_groups([image.group or image.id for image in remaining])
    together = linked([*copies, *declared], len(remaining))

    kept = [image for image in remaining if image.id not in excluded]
    _require_every_class(images, kept)
    return Selection(
        kept=kept,
        excluded=[excluded[image.id] for image in images if image.id in excluded],
        copies=_list_copies(remaining, copies, exact, excluded),
        groups=_ties(remaining, together, excluded),
        modal_size=modal,
    )


def selection_metrics(selection: Selection) -> dict[str, Any]:
    """Count what stayed and what was left out, as in `metrics/filter.json`."""
    kept, excluded = selection.kept, selection.excluded
    everyone = [*kept, *(item.image for item in excluded)]
    classes = sorted({label for image in everyone for label in image.labels})
    kept_labels = Counter(label for image in kept for label in image.labels)
    excluded_labels = Counter(label for item in excluded for label in item.image.labels)
    by_reason: dict[str, Counter[str]] = {reason: Counter() for reason in REASONS}
    for item in excluded:
        by_reason[item.reason].update(item.image.labels)
    reasons: Counter[str] = Counter(item.reason for item in excluded)
    return {
        "n_images": len(everyone),
        "n_kept": len(kept),
        "n_excluded": len(excluded),
        "excluded": {reason: reasons[reason] for reason in REASONS},
        "modal_size": list(selection.modal_size),
        "kept_per_class": {name: kept_labels[name] for name in classes},
        "excluded_per_class": {name: excluded_labels[name] for name in classes},
        "excluded_per_reason_and_class": {
            reason: {name: counts[name] for name in classes} for reason, counts in by_reason.items()
        },
        "n_duplicate_groups": len({copy.group for copy in selection.copies}),
        "n_copies": dict(sorted(Counter(copy.kind for copy in selection.copies).items())),
        "n_test_images_with_duplicates": len(held_out_copies(selection.copies)),
    }


def held_out_copies(copies: Iterable[Copy]) -> list[Candidate]:
    """Find the images of an official test part of which a copy is kept for training."""
    copies = list(copies)
    learned = {copy.group for copy in copies if copy.kept and copy.image.split not in UNTOUCHED}
    return [copy.image for copy in copies if copy.image.split == HELD_OUT and copy.group in learned]


def _learnable(images: Iterable[Candidate]) -> list[Candidate]:
    return [image for image in images if image.split not in UNTOUCHED]


def _leave_out(excluded: dict[str, Excluded], items: Iterable[Excluded]) -> None:
    excluded.update((item.image.id, item) for item in items)


def _exact_left_out(group: Sequence[Candidate], duplicates: Mapping[str, Any]) -> list[Excluded]:
    """Of images with equal pixels."""
    # In `multi`, a labelled image may bear no label.
    labels = sorted({"|".join(image.labels) for image in group if image.split != UNLABELLED})
    if len(labels) > 1:
        if duplicates["conflicting"] == "off":
            return []
        shown = " / ".join(label or "(no label)" for label in labels)
        return [Excluded(image, "conflicting_labels", shown) for image in _learnable(group)]
    if duplicates["exact"] != "drop":
        return []
    stay = _held_out_first(_learnable(group))
    return [Excluded(image, "duplicate", stay[0].id) for image in stay[1:]]


def _near_left_out(group: Sequence[Candidate], distance: int) -> list[Excluded]:
    """Of images that look alike: those near to one that stays and bears the same labels."""
    stay: list[Candidate] = []
    left_out = []
    largest_first = sorted(_learnable(group), key=lambda image: -image.size[0] * image.size[1])
    for image in _held_out_first(largest_first):
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
            left_out.append(Excluded(image, "duplicate", kept.id))
    return left_out


def _torn_left_out(group: Sequence[Candidate]) -> list[Excluded]:
    """Of copies that official parts would tear apart, those that are not held out."""
    held_out = next((image for image in group if image.split == "validation"), None)
    if held_out is None:
        return []
    return [
        Excluded(image, "duplicate", held_out.id)
        for image in _learnable(group)
        if image.split != "validation"
    ]


def _held_out_first(images: Sequence[Candidate]) -> list[Candidate]:
    return sorted(images, key=lambda image: image.split != "validation")


def _list_copies(
    images: Sequence[Candidate],
    groups: Iterable[Sequence[int]],
    exact: Iterable[Sequence[int]],
    excluded: Mapping[str, Excluded],
) -> list[Copy]:
    same = {position for group in exact for position in group}
    return [
        Copy(
            image=images[position],
            group=images[group[0]].id,
            kind="exact" if position in same else "near",
            kept=images[position].id not in excluded,
        )
        for group in groups
        for position in group
    ]


def _ties(
    images: Sequence[Candidate],
    groups: Iterable[Sequence[int]],
    excluded: Mapping[str, Excluded],
) -> dict[str, str]:
    ties: dict[str, str] = {}
    for group in groups:
        stay = [images[position].id for position in group if images[position].id not in excluded]
        if len(stay) > 1:
            ties.update(dict.fromkeys(stay, images[group[0]].id))
    return ties


def _require_every_class(images: Sequence[Candidate], kept: Sequence[Candidate]) -> None:
    before = {label for image in _learnable(images) for label in image.labels}
    after = {label for image in _learnable(kept) for label in image.labels}
    if lost := sorted(before - after):
        raise UserError(
            f"the filter leaves no image of {', '.join(lost)}; see filter.size and "
            "filter.duplicates in params.yaml, or take the class out of the data"
        )
