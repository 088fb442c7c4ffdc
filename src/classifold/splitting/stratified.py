"""Split images by fractions so that all splits have the same class proportions."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heappop, heappush

import numpy as np
from scipy.sparse import csr_array

from classifold.data.seeding import generator
from classifold.errors import UserError
from classifold.splitting.polish import polish

# Stands for the absence of labels among the labels; no class has this name.
NO_LABEL = ""


def stratify(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    fractions: Mapping[str, float],
    seed: int,
) -> list[str]:
    """Assign each image to a split: stratified by label, groups kept whole.

    Iterative stratification: the rarest label comes first, and each group that has it goes to the
    split that lacks most of it, large groups first. The group's other labels are subtracted from
    what its split lacks. Images without a label come last. Then groups are exchanged between
    splits as long as that brings their class proportions closer. With one label per image this
    is stratified sampling, each class to the nearest image.

    Every label gets at least one image in each split whose fraction is above 0; with several
    labels per image that is attempted and not promised. scikit-learn's stratified splitters know
    either fractions or groups, and one label per image; scikit-multilearn's knows several labels
    but no groups.

    Args:
        labels: the labels of each image; may be none.
        groups: the name of each image's group; images of one group go to one split.
        fractions: split -> fraction, 0 or more; they sum to 1.
        seed: seed of the order in which groups are assigned.

    Returns:
        The split of each image.

    Raises:
        UserError: if a label has fewer groups than there are splits.

    Source: Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label Data".
    """
    wanted = wanted_fractions(labels, groups, fractions)
    return _stratify(labels, groups, wanted=wanted, min_images=1, seed=seed)


def wanted_fractions(
    labels: Sequence[Collection[str]], groups: Sequence[str], fractions: Mapping[str, float]
) -> dict[str, float]:
    """Select the fractions above 0, and check that each label has a group for each of them.

    Raises:
        UserError: if a label has fewer groups than there are splits.
    """
    wanted = {split: fraction for split, fraction in fractions.items() if fraction > 0}
    groups_of: dict[str, set[str]] = defaultdict(set)
    for of_image, group in zip(labels, groups, strict=True):
        for label in of_image:
            groups_of[label].add(group)
    most = max(map(len, groups_of.values()), default=0)
    # Only the fraction of test may be 0, and then a class must have an image for each other split.
    or_no_test = ""
    if "test" in wanted and most >= len(wanted) - 1:
        or_no_test = ", or set split.fractions.test to 0"
    for label, of_label in sorted(groups_of.items()):
        if len(of_label) < len(wanted):
            raise UserError(
                f"split.fractions: each of {', '.join(wanted)} needs an image of class '{label}', "
                f"got {len(of_label)} in all (a group of duplicates counts once). Add images of "
                f"each class{or_no_test}."
            )
    return wanted


def stratify_folds(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    n_folds: int,
    seed: int,
    setting: str,
) -> np.ndarray:
    """Assign each image to one of `n_folds` folds of equal size, as `stratify` does to splits.

    A label may have fewer groups than there are folds: each then goes to another fold, and some
    folds stay without the label.

    Args:
        labels: the labels of each image; may be none.
        groups: the name of each image's group; images of one group go to one fold.
        n_folds: number of folds.
        seed: seed of the order in which groups are assigned.
        setting: the key that sets the number of folds, for messages.

    Returns:
        int64 array (N,) in [0, n_folds); no fold is empty.

    Raises:
        UserError: if there are too few groups to fill the folds.
    """
    folds = _fill_folds(labels, groups, n_folds=n_folds, seed=seed)
    n_filled = len(np.unique(folds))
    if n_filled < n_folds:
        raise UserError(
            f"{setting}: {len(labels)} images fill only {n_filled} folds (duplicates and images "
            f"of one group stay together), got {n_folds}. Lower {setting}."
        )
    return folds


def stratify_few(
    labels: Sequence[Collection[str]], groups: Sequence[str], *, max_folds: int, seed: int
) -> np.ndarray:
    """Assign each image to one of at most `max_folds` folds, fewer if there are too few groups.

    Args:
        labels: as of `stratify_folds`.
        groups: as of `stratify_folds`.
        max_folds: at least 2.
        seed: as of `stratify_folds`.

    Returns:
        int64 array (N,); no fold is empty. All 0 if there are fewer than two groups.
    """
    for n_folds in range(min(max_folds, len(set(groups))), 1, -1):
        folds = _fill_folds(labels, groups, n_folds=n_folds, seed=seed)
        if len(np.unique(folds)) == n_folds:
            return folds
    return np.zeros(len(labels), np.int64)


def _fill_folds(
    labels: Sequence[Collection[str]], groups: Sequence[str], *, n_folds: int, seed: int
) -> np.ndarray:
    """Assign images to folds, of which some may stay empty: int64 (N,)."""
    wanted = {str(fold): 1 / n_folds for fold in range(n_folds)}
    folds = _stratify(labels, groups, wanted=wanted, min_images=0, seed=seed)
    return np.array([int(fold) for fold in folds], np.int64)


def _stratify(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    wanted: Mapping[str, float],
    min_images: int,
    seed: int,
) -> list[str]:
    """Assign each image to a split, each of which should have `min_images` of each label."""
    members: dict[str, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    counts: dict[str, Counter[str]] = {
        group: Counter(label for position in positions for label in labels[position] or (NO_LABEL,))
        for group, positions in members.items()
    }
    groups_of: dict[str, list[str]] = defaultdict(list)
    for group in sorted(counts):
        for label in counts[group]:
            groups_of[label].append(group)

    lacking = {
        label: _targets(sum(counts[group][label] for group in of_label), wanted, min_images)
        for label, of_label in groups_of.items()
    }
    # Images without a label correct the sizes of the splits.
    room = {split: fraction * len(labels) for split, fraction in wanted.items()}
    lacking[NO_LABEL] = room
    targets = {label: dict(of_label) for label, of_label in lacking.items()}
    split_of: dict[str, str] = {}
    n_left = {label: len(of_label) for label, of_label in groups_of.items()}
    queue = [_rank(label, n_groups) for label, n_groups in n_left.items()]
    heapify(queue)
    while queue:
        *_, n_groups, label = heappop(queue)
        if n_left[label] != n_groups:
            continue  # it was ranked anew since, or has no groups left
        waiting = [group for group in groups_of[label] if group not in split_of]
        generator(seed, label).shuffle(waiting)
        waiting.sort(key=lambda group: -counts[group][label])
        reached = {split_of[group] for group in groups_of[label] if group in split_of}
        without = [split for split in wanted if split not in reached]
        lacks = lacking[label]
        changed = set()
        for n_waiting, group in zip(range(len(waiting), 0, -1), waiting, strict=True):
            # The last groups go to splits that would stay without the label.
            choice = without if len(without) >= n_waiting else wanted
            split = max(choice, key=lambda name: (lacks[name], room[name]))
            split_of[group] = split
            room[split] -= len(members[group])
            for name, count in counts[group].items():
                n_left[name] -= 1
                changed.add(name)
                if name != NO_LABEL:  # whose counts are `room`
                    lacking[name][split] -= count
            if split in without:
                without.remove(split)
        for name in changed:
            if n_left[name]:
                heappush(queue, _rank(name, n_left[name]))
    if any(len(of_group) > 1 for of_group in counts.values()):
        sizes = {split: fraction * len(labels) for split, fraction in wanted.items()}
        split_of = _polished(split_of, counts, members, targets, sizes)
    return [split_of[group] for group in groups]


def _rank(label: str, n_groups: int) -> tuple[bool, int, str]:
    """Order the labels: the rarest first, images without a label last."""
    return label == NO_LABEL, n_groups, label


def _polished(
    split_of: Mapping[str, str],
    counts: Mapping[str, Counter[str]],
    members: Mapping[str, Sequence[int]],
    targets: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, float],
) -> dict[str, str]:
    names = list(split_of)
    labels = sorted(set(targets) - {NO_LABEL})
    column = {label: i for i, label in enumerate(labels)}
    # Sparse: most groups have few of many labels.
    cells = [
        (row, column[label], count)
        for row, name in enumerate(names)
        for label, count in counts[name].items()
        if label != NO_LABEL
    ]
    cells += [(row, len(labels), len(members[name])) for row, name in enumerate(names)]
    rows, columns, values = np.array(cells).T
    matrix = csr_array((values, (rows, columns)), shape=(len(names), len(labels) + 1))
    wanted = {
        split: np.array([*(targets[label][split] for label in labels), n_images])
        for split, n_images in sizes.items()
    }
    splits = polish([split_of[name] for name in names], matrix, targets=wanted)
    return dict(zip(names, splits, strict=True))


def _targets(n_images: int, fractions: Mapping[str, float], min_images: int) -> dict[str, float]:
    """Compute how many images of a label each split should have.

    What `min_images` adds to a split is taken from the largest one.
    """
    targets = {split: max(value * n_images, min_images) for split, value in fractions.items()}
    if min_images:  # else rounding would make equal splits unequal
        largest = max(fractions, key=lambda split: fractions[split])
        targets[largest] -= sum(targets.values()) - n_images
    return targets
