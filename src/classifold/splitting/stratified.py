"""Share out images to parts so that every part has the same mix of classes."""

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
    """Assign each image to a part: stratified by label, groups kept whole.

    Iterative stratification: of the labels not yet shared out, the rarest is taken, and each
    group that bears it goes to the part that lacks most of it, large groups first. What an
    image bears beside is subtracted from what its part lacks. Images without a label come last,
    and then images are traded between parts as long as that brings their mixes closer.
    With one label an image this is stratified sampling, each class to the nearest image.

    Every label gets at least one image in each part with a share; with several labels an image
    that is tried, and not promised. scikit-learn's stratified splitters know either fractions or
    groups and one label an image; scikit-multilearn's knows several labels but no groups, and
    draws from NumPy's global state.

    Args:
        labels: the labels of each image; may be none.
        groups: a name for each image; images of one name go to one part.
        fractions: part -> share above or equal to 0; they sum to 1.
        seed: of the order in which groups are shared out.

    Returns:
        The part of each image.

    Raises:
        UserError: if a label has fewer groups than there are parts.

    Source: Sechidis, Tsoumakas, Vlahavas 2011, "On the Stratification of Multi-Label Data".
    """
    wanted = {part: share for part, share in fractions.items() if share > 0}
    bearers: dict[str, set[str]] = defaultdict(set)
    for of_image, group in zip(labels, groups, strict=True):
        for label in of_image:
            bearers[label].add(group)
    _require_enough(bearers, wanted)
    return _share_out(labels, groups, wanted=wanted, at_least=1, seed=seed)


def stratify_folds(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    n_folds: int,
    seed: int,
    setting: str,
) -> np.ndarray:
    """Assign each image to one of `n_folds` folds, as `stratify` does to parts of equal fractions.

    A label may have fewer groups than there are folds: each then goes to another fold, and some
    folds stay without the label.

    Args:
        labels: the labels of each image; may be none.
        groups: a name for each image; images of one name go to one fold.
        n_folds: how many.
        seed: of the order in which groups are shared out.
        setting: that says how many, for messages.

    Returns:
        int64 array (N,) in [0, n_folds); no fold is empty.

    Raises:
        UserError: if there are too few groups to fill the folds.
    """
    wanted = {str(fold): 1 / n_folds for fold in range(n_folds)}
    parts = _share_out(labels, groups, wanted=wanted, at_least=0, seed=seed)
    n_filled = len(set(parts))
    if n_filled < n_folds:
        raise UserError(
            f"{setting} is {n_folds}, and {len(labels)} images (copies and images of one group "
            f"stay together) fill no more than {n_filled} folds; lower {setting}"
        )
    return np.array([int(part) for part in parts])


def _share_out(
    labels: Sequence[Collection[str]],
    groups: Sequence[str],
    *,
    wanted: Mapping[str, float],
    at_least: int,
    seed: int,
) -> list[str]:
    """Assign each image to a part with a share; every part is to have `at_least` of each label."""
    members: dict[str, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    borne: dict[str, Counter[str]] = {
        group: Counter(label for position in positions for label in labels[position] or (NO_LABEL,))
        for group, positions in members.items()
    }
    bearers: dict[str, list[str]] = defaultdict(list)
    for group in sorted(borne):
        for label in borne[group]:
            bearers[label].append(group)

    lacking = {
        label: _lacking(sum(borne[group][label] for group in of_label), wanted, at_least)
        for label, of_label in bearers.items()
    }
    # Images without a label make up for what sizes of parts are off.
    room = {part: share * len(labels) for part, share in wanted.items()}
    lacking[NO_LABEL] = room
    targets = {label: dict(of_label) for label, of_label in lacking.items()}
    part_of: dict[str, str] = {}
    left = {label: len(of_label) for label, of_label in bearers.items()}
    rarest = [_rank(label, n_groups) for label, n_groups in left.items()]
    heapify(rarest)
    while rarest:
        *_, n_groups, label = heappop(rarest)
        if left[label] != n_groups:
            continue  # it was ranked anew since, or has no groups left
        waiting = [group for group in bearers[label] if group not in part_of]
        generator(seed, label).shuffle(waiting)
        waiting.sort(key=lambda group: -borne[group][label])
        reached = {part_of[group] for group in bearers[label] if group in part_of}
        empty = [part for part in wanted if part not in reached]
        lacks = lacking[label]
        fewer = set()
        for n_left, group in zip(range(len(waiting), 0, -1), waiting, strict=True):
            # The last groups go to parts that would stay without the label.
            choice = empty if len(empty) >= n_left else wanted
            part = max(choice, key=lambda name: (lacks[name], room[name]))
            part_of[group] = part
            room[part] -= len(members[group])
            for name, count in borne[group].items():
                left[name] -= 1
                fewer.add(name)
                if name != NO_LABEL:  # which lacks what there is room for
                    lacking[name][part] -= count
            if part in empty:
                empty.remove(part)
        for name in fewer:
            if left[name]:
                heappush(rarest, _rank(name, left[name]))
    if any(len(of_group) > 1 for of_group in borne.values()):
        whole = {part: share * len(labels) for part, share in wanted.items()}
        part_of = _polished(part_of, borne, members, targets, whole)
    return [part_of[group] for group in groups]


def _rank(label: str, n_groups: int) -> tuple[bool, int, str]:
    """Which label is shared out first: the rarest, and images without a label last."""
    return label == NO_LABEL, n_groups, label


def _polished(
    part_of: Mapping[str, str],
    borne: Mapping[str, Counter[str]],
    members: Mapping[str, Sequence[int]],
    targets: Mapping[str, Mapping[str, float]],
    whole: Mapping[str, float],
) -> dict[str, str]:
    names = list(part_of)
    labels = sorted(set(targets) - {NO_LABEL})
    column = {label: i for i, label in enumerate(labels)}
    # Of each group, the images of each label and all of them; most groups bear few labels of many.
    cells = [
        (row, column[label], count)
        for row, name in enumerate(names)
        for label, count in borne[name].items()
        if label != NO_LABEL
    ]
    cells += [(row, len(labels), len(members[name])) for row, name in enumerate(names)]
    rows, columns, values = np.array(cells).T
    counts = csr_array((values, (rows, columns)), shape=(len(names), len(labels) + 1))
    wanted = {
        part: np.array([*(targets[label][part] for label in labels), n_images])
        for part, n_images in whole.items()
    }
    parts = polish([part_of[name] for name in names], counts, targets=wanted)
    return dict(zip(names, parts, strict=True))


def _lacking(n_images: int, fractions: Mapping[str, float], at_least: int) -> dict[str, float]:
    """How many images of a label each part is to have; above its share, taken from the largest."""
    lacking = {part: max(share * n_images, at_least) for part, share in fractions.items()}
    if at_least:  # else rounding would make equal parts unequal
        largest = max(fractions, key=lambda part: fractions[part])
        lacking[largest] -= sum(lacking.values()) - n_images
    return lacking


def _require_enough(bearers: Mapping[str, Collection[str]], wanted: Mapping[str, float]) -> None:
    for label, of_label in sorted(bearers.items()):
        if len(of_label) < len(wanted):
            n = len(of_label)
            raise UserError(
                f"class '{label}' has {n} image{'s' * (n != 1)} to share out (copies and images "
                f"of one group count once), but split.fractions needs at least {len(wanted)}, one "
                f"each for {', '.join(wanted)}; add images, take the class out, or set a share "
                "to 0"
            )
