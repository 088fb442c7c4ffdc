"""Share out images to parts so that every part has the same mix of classes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from classifold.errors import UserError
from classifold.seeding import generator


def split_by_class(
    labels: Sequence[str], groups: Sequence[str], *, shares: Mapping[str, float], seed: int
) -> list[str]:
    """Assign each image to a part: stratified by class, groups kept whole.

    Every class gets its share of every part to the nearest image (groups of copies may make
    it miss by their size), and at least one image in each part with a share. scikit-learn's
    stratified splitters know either shares or groups, and may leave a class out of a part.

    Args:
        labels: class of each image.
        groups: a name for each image; images of one name go to one part.
        shares: part -> share above or equal to 0; they sum to 1.
        seed: of the order in which groups are shared out.

    Returns:
        The part of each image.

    Raises:
        UserError: if a class has fewer groups than there are parts.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    # A group whose copies bear different labels is shared out with its most frequent one.
    by_class: dict[str, list[str]] = defaultdict(list)
    for group, positions in members.items():
        counts = Counter(labels[position] for position in positions)
        by_class[max(counts, key=lambda label: (counts[label], label))].append(group)

    wanted = {part: share for part, share in shares.items() if share > 0}
    parts = np.empty(len(labels), dtype=object)
    for label in sorted(set(labels)):
        names = sorted(by_class[label])
        if len(names) < len(wanted):
            raise UserError(
                f"class '{label}' has {len(names)} image{'s' * (len(names) != 1)} to share "
                f"out (copies count once), but split.shares needs at least {len(wanted)}, one "
                f"each for {', '.join(wanted)}; add images, take the class out, or set a share "
                "to 0"
            )
        generator(seed, label).shuffle(names)
        sizes = [len(members[name]) for name in names]
        for name, part in zip(names, _assign(sizes, wanted), strict=True):
            parts[members[name]] = part
    return parts.tolist()


def split_metrics(
    labels: Sequence[str], groups: Sequence[str], parts: Sequence[str], *, names: Sequence[str]
) -> dict[str, Any]:
    """Count what `metrics/split.json` tells of a split.

    Args:
        labels: class of each image.
        groups: group of each image.
        parts: part of each image.
        names: all parts, in their order, the empty ones too.
    """
    classes = sorted(set(labels))
    counts = {part: Counter[str]() for part in names}
    sides: dict[str, set[str]] = defaultdict(set)
    for label, group, part in zip(labels, groups, parts, strict=True):
        counts[part][label] += 1
        sides[group].add(part)
    shares = {
        part: {name: count[name] / count.total() for name in classes} if count else {}
        for part, count in counts.items()
    }
    filled = [share for share in shares.values() if share]
    gaps = [
        max(share[name] for share in filled) - min(share[name] for share in filled)
        for name in classes
    ]
    return {
        **{f"n_{part}": counts[part].total() for part in names},
        "class_shares": shares,
        "max_share_gap": max(gaps),
        "n_groups": len(sides),
        "n_groups_across_parts": sum(len(side) > 1 for side in sides.values()),
    }


def _assign(sizes: Sequence[int], shares: Mapping[str, float]) -> list[str]:
    """Give each group of a class to the part that lacks most, large groups first."""
    total = sum(sizes)
    # At least one image for each part, taken from the largest.
    lacking = {part: max(share * total, 1.0) for part, share in shares.items()}
    largest = max(shares, key=lambda part: shares[part])
    lacking[largest] -= sum(lacking.values()) - total
    parts = [""] * len(sizes)
    empty = dict.fromkeys(shares)  # an ordered set
    by_size = sorted(range(len(sizes)), key=lambda position: -sizes[position])
    for n_left, position in zip(range(len(sizes), 0, -1), by_size, strict=True):
        # The last groups go to parts that would stay empty.
        choice = empty if len(empty) >= n_left else shares
        part = max(choice, key=lambda part: lacking[part])
        lacking[part] -= sizes[position]
        parts[position] = part
        empty.pop(part, None)
    return parts
