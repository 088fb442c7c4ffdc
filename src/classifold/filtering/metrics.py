"""Count what the filter kept and excluded, and find test images with duplicates."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from classifold.data.image_table import TEST
from classifold.filtering.selection import REASONS, UNTOUCHED, Candidate, Duplicate, Selection


def selection_metrics(selection: Selection) -> dict[str, Any]:
    """Count the kept and the excluded images, as in `metrics/filter.json`."""
    kept, excluded = selection.kept, selection.excluded
    all_images = [*kept, *(item.image for item in excluded)]
    classes = sorted({label for image in all_images for label in image.labels})
    kept_labels = Counter(label for image in kept for label in image.labels)
    excluded_labels = Counter(label for item in excluded for label in item.image.labels)
    by_reason: dict[str, Counter[str]] = {reason: Counter() for reason in REASONS}
    for item in excluded:
        by_reason[item.reason].update(item.image.labels)
    reasons: Counter[str] = Counter(item.reason for item in excluded)
    return {
        "n_images": len(all_images),
        "n_kept": len(kept),
        "n_excluded": len(excluded),
        "excluded": {reason: reasons[reason] for reason in REASONS},
        "modal_size": list(selection.modal_size),
        "kept_per_class": {name: kept_labels[name] for name in classes},
        "excluded_per_class": {name: excluded_labels[name] for name in classes},
        "excluded_per_reason_and_class": {
            reason: {name: counts[name] for name in classes} for reason, counts in by_reason.items()
        },
        "n_duplicate_groups": len({item.group for item in selection.duplicates}),
        "n_duplicates": dict(sorted(Counter(item.kind for item in selection.duplicates).items())),
        "n_test_images_with_duplicates": len(test_images_with_duplicates(selection.duplicates)),
    }


def test_images_with_duplicates(duplicates: Sequence[Duplicate]) -> list[Candidate]:
    """Find the images of an official test split of which a duplicate is kept for training."""
    ids = ids_with_duplicates(
        (item.image.id, item.group, item.image.split, item.kept) for item in duplicates
    )
    return [item.image for item in duplicates if item.image.id in ids]


def ids_with_duplicates(rows: Iterable[tuple[str, str, str | None, bool]]) -> set[str]:
    """Find the images of an official test split of which a duplicate is kept for training.

    Args:
        rows: id, group, split, and whether it is kept, of each image that has duplicates.

    Returns:
        Their ids.
    """
    rows = list(rows)
    groups = {group for _, group, split, kept in rows if kept and split not in UNTOUCHED}
    return {image_id for image_id, group, split, _ in rows if split == TEST and group in groups}
