"""Exchange groups of images between splits until no exchange improves their class proportions."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

# Groups with equal counts are of one kind. Exchanges of the most frequent kinds suffice; each step
# computes a matrix of the square of this size.
MAX_KINDS = 400
MAX_EXCHANGES = 2000


def polish(splits: list[str], counts: csr_array, *, targets: Mapping[str, np.ndarray]) -> list[str]:
    """Swap or move groups between splits as long as the counts come closer to their targets.

    Greedy iterative stratification settles one label after the other. Where every image has a
    label, no image remains at the end that could correct the sizes of the splits and the counts
    of the labels.

    Args:
        splits: the split of each group.
        counts: int (n_groups, n_counts), sparse; of each group the images of each label and, in
            the last column, all images.
        targets: split -> float array (n_counts,), the counts that the split should have.

    Returns:
        The split of each group.
    """
    kind_of = _kinds(counts)
    n_each = Counter(kind_of)
    frequent = sorted(n_each, key=lambda kind: (-n_each[kind], kind))[:MAX_KINDS]
    vectors = np.zeros((len(frequent) + 1, counts.shape[1]))  # the last row: no group
    for row, kind in enumerate(frequent):
        for column, value in kind:
            vectors[row, -column] = value
    row_of = {kind: row for row, kind in enumerate(frequent)}
    members: dict[tuple[str, int], list[int]] = defaultdict(list)  # (split, row) -> groups
    for group, (split, kind) in enumerate(zip(splits, kind_of, strict=True)):
        if kind in row_of:
            members[split, row_of[kind]].append(group)
    excess = {name: -target for name, target in targets.items()}
    for name in targets:
        excess[name] = excess[name] + counts[np.flatnonzero(np.array(splits) == name)].sum(axis=0)
    # Deviations are relative to the size of the split: one image weighs more in a small split.
    scale = {name: 1 / max(target[-1], 1.0) for name, target in targets.items()}
    lengths = (vectors**2).sum(axis=1)
    # Of whole numbers, so that nothing is rounded.
    squares = lengths[:, None] + lengths - 2 * vectors @ vectors.T

    names = list(targets)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    splits = list(splits)
    no_group = len(vectors) - 1  # its row: a group moves, and none comes back for it
    for _ in range(MAX_EXCHANGES):
        best = (-1e-12, 0, 0, "", "")
        for a, b in pairs:
            # Row i goes from a to b, row j from b to a.
            pull = vectors @ (excess[b] * scale[b] ** 2 - excess[a] * scale[a] ** 2)
            gain = 2 * (pull[:, None] - pull[None]) + squares * (scale[a] ** 2 + scale[b] ** 2)
            gain[_immovable(a, vectors, members, excess[a] + targets[a])] = 0
            gain[:, _immovable(b, vectors, members, excess[b] + targets[b])] = 0
            i, j = divmod(int(gain.argmin()), len(vectors))
            best = min(best, (float(gain[i, j]), i, j, a, b))
        _, i, j, a, b = best
        if not a:
            break
        for row, source, target in ((i, a, b), (j, b, a)):
            if row != no_group:
                group = members[source, row].pop()
                members[target, row].append(group)
                splits[group] = target
        change = vectors[i] - vectors[j]
        excess[a] = excess[a] - change
        excess[b] = excess[b] + change
    return splits


def _kinds(counts: csr_array) -> list[tuple[tuple[int, int], ...]]:
    """Describe the counts of each group, as pairs of (minus the column, the count).

    The minus lets kinds be sorted as their whole rows would be.
    """
    counts.sort_indices()
    columns, values = (-counts.indices).tolist(), counts.data.tolist()
    return [
        tuple(zip(columns[start:end], values[start:end], strict=True))
        for start, end in pairwise(counts.indptr.tolist())
    ]


def _immovable(
    split: str,
    vectors: np.ndarray,
    members: Mapping[tuple[str, int], list[int]],
    counts: np.ndarray,
) -> np.ndarray:
    """Find the kinds that cannot leave a split: it has none, or they have the last of a label."""
    absent = np.array([not members[split, row] for row in range(len(vectors))])
    absent[-1] = False  # no group can always leave
    takes_last = ((vectors > 0) & (counts - vectors < 0.5))[:, :-1].any(axis=1)
    return absent | takes_last
