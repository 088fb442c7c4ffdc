"""Find the images of classes that are too rare to be in every split."""

from collections import defaultdict
from collections.abc import Collection, Sequence


def in_rare_classes(
    labels: Sequence[Collection[str]], groups: Sequence[str], *, n_splits: int
) -> list[bool]:
    """Find the images that cannot be split, since a class of theirs has too few groups.

    An image of a rare class takes its whole group along, and this may make further classes rare.

    Args:
        labels: the labels of each image; may be none.
        groups: the name of each image's group; images of one group go to one split.
        n_splits: number of groups that a class needs.

    Returns:
        For each image whether it, or an image of its group, has a rare class. False for all if no
        other image would remain.
    """
    labels_of: dict[str, set[str]] = defaultdict(set)
    for of_image, group in zip(labels, groups, strict=True):
        labels_of[group].update(of_image)
    groups_of: dict[str, set[str]] = defaultdict(set)
    for group, of_group in labels_of.items():
        for label in of_group:
            groups_of[label].add(group)
    found: set[str] = set()
    waiting = [label for label, of_label in groups_of.items() if len(of_label) < n_splits]
    while waiting:
        for group in groups_of.pop(waiting.pop()):
            found.add(group)
            for label in labels_of.pop(group):
                if label in groups_of:
                    groups_of[label].discard(group)
                    if len(groups_of[label]) == n_splits - 1:  # once, at the moment it is too few
                        waiting.append(label)
    if not labels_of:
        return [False] * len(groups)
    return [group in found for group in groups]
