"""Who stays and who is left out, each for one reason, the first that applies."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from classifold.errors import UserError
from classifold.filtering.copies import exact_copies
from classifold.filtering.size import is_outlier, modal_size

REASONS = ("size", "duplicate", "conflicting_labels")


class Candidate(NamedTuple):
    """What the filter knows of an image."""

    id: str
    labels: tuple[str, ...]
    part: str | None
    size: tuple[int, int]
    sha256: str


class Excluded(NamedTuple):
    """An image left out."""

    image: Candidate
    reason: Literal["size", "duplicate", "conflicting_labels"]
    measured: str  # its size, the image it is a copy of, or the labels of its copies


class Copy(NamedTuple):
    """An image of a group of copies; a group is named by its first image."""

    image: Candidate
    group: str
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
    """Leave out size outliers, then copies.

    Args:
        images: all images; their order decides which of several copies stays, the first.
        size: `rule` modal or none, and `tolerance` in pixels.
        duplicates: `exact`: `drop` keeps the first copy, `group` keeps all and ties them
            together for the split, `off` does not look; `conflicting`: `drop` leaves out all
            copies that bear different labels, since nobody knows which is right.

    Raises:
        UserError: if no image of a class is left.
    """
    modal = modal_size([image.size for image in images])
    excluded: list[Excluded] = []
    remaining: list[Candidate] = []
    for image in images:
        if size["rule"] == "modal" and is_outlier(
            image.size, modal=modal, tolerance=size["tolerance"]
        ):
            excluded.append(Excluded(image, "size", f"{image.size[0]}x{image.size[1]}"))
        else:
            remaining.append(image)

    dropped: set[str] = set()
    copies: list[Copy] = []
    groups: dict[str, str] = {}
    if duplicates["exact"] != "off" or duplicates["conflicting"] != "off":
        for positions in exact_copies([image.sha256 for image in remaining]):
            group = [remaining[position] for position in positions]
            left_out = _left_out(group, duplicates)
            excluded.extend(left_out)
            gone = {item.image.id for item in left_out}
            dropped |= gone
            stay = [image for image in group if image.id not in gone]
            if len(stay) > 1:
                groups.update({image.id: group[0].id for image in stay})
            copies += [Copy(image, group[0].id, image.id not in gone) for image in group]

    kept = [image for image in remaining if image.id not in dropped]
    _require_every_class(images, kept)
    return Selection(kept, excluded, copies, groups, modal)


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
        "n_copy_groups": len({copy.group for copy in selection.copies}),
    }


def _left_out(group: Sequence[Candidate], duplicates: Mapping[str, Any]) -> list[Excluded]:
    labels = sorted({"|".join(image.labels) for image in group if image.labels})
    if len(labels) > 1 and duplicates["conflicting"] == "drop":
        return [Excluded(image, "conflicting_labels", " / ".join(labels)) for image in group]
    if len(labels) <= 1 and duplicates["exact"] == "drop":
        # A labelled copy is worth more than one without a label.
        first = next((image for image in group if image.labels), group[0])
        return [Excluded(image, "duplicate", first.id) for image in group if image is not first]
    return []


def _require_every_class(images: Sequence[Candidate], kept: Sequence[Candidate]) -> None:
    before = {label for image in images for label in image.labels}
    after = {label for image in kept for label in image.labels}
    if lost := sorted(before - after):
        raise UserError(
            f"the filter leaves no image of {', '.join(lost)}; see filter.size and "
            "filter.duplicates in params.yaml, or take the class out of the data"
        )
