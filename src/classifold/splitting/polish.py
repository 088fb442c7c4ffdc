"""Trade images between parts until no trade brings their mixes of labels closer."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

# Images with the same labels are one kind. Trades of the most frequent kinds do; the square of
# this many is weighed at each step.
MOST_KINDS = 400
MOST_TRADES = 2000


def polish(parts: list[str], counts: csr_array, *, targets: Mapping[str, np.ndarray]) -> list[str]:
    """Swap or move groups between parts as long as the counts come closer to their targets.

    Greedy iterative stratification settles each label in its turn; where every image bears
    some, nothing is left at the end to make up for what sizes and labels are off.

    Args:
        parts: the part of each group.
        counts: int (n_groups, n_counts), sparse; what each group brings: its images of each
            label, and all its images.
        targets: part -> float array (n_counts,), what the part should hold.

    Returns:
        The part of each group.
    """
    kind_of = _kinds(counts)
    n_each = Counter(kind_of)
    frequent = sorted(n_each, key=lambda kind: (-n_each[kind], kind))[:MOST_KINDS]
    vectors = np.zeros((len(frequent) + 1, counts.shape[1]))  # the last: nothing
    for row, kind in enumerate(frequent):
        for column, value in kind:
            vectors[row, -column] = value
    place = {kind: row for row, kind in enumerate(frequent)}
    here: dict[tuple[str, int], list[int]] = defaultdict(list)  # (part, row) -> groups
    for group, (part, kind) in enumerate(zip(parts, kind_of, strict=True)):
        if kind in place:
            here[part, place[kind]].append(group)
    excess = {name: -target for name, target in targets.items()}
    for name in targets:
        excess[name] = excess[name] + counts[np.flatnonzero(np.array(parts) == name)].sum(axis=0)
    # Deviations count as fractions of their part: one image off is worse in a small part.
    scale = {name: 1 / max(target[-1], 1.0) for name, target in targets.items()}
    lengths = (vectors**2).sum(axis=1)
    # Of whole numbers, so that nothing is rounded.
    squares = lengths[:, None] + lengths - 2 * vectors @ vectors.T

    names = list(targets)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    parts = list(parts)
    nothing = len(vectors) - 1  # its row: a group moves, and none comes back for it
    for _ in range(MOST_TRADES):
        best = (-1e-12, 0, 0, "", "")
        for a, b in pairs:
            # Row i goes from a to b, row j from b to a.
            pull = vectors @ (excess[b] * scale[b] ** 2 - excess[a] * scale[a] ** 2)
            gain = 2 * (pull[:, None] - pull[None]) + squares * (scale[a] ** 2 + scale[b] ** 2)
            gain[_stay(a, vectors, here, excess[a] + targets[a])] = 0
            gain[:, _stay(b, vectors, here, excess[b] + targets[b])] = 0
            i, j = divmod(int(gain.argmin()), len(vectors))
            best = min(best, (float(gain[i, j]), i, j, a, b))
        _, i, j, a, b = best
        if not a:
            break
        for row, source, target in ((i, a, b), (j, b, a)):
            if row != nothing:
                group = here[source, row].pop()
                here[target, row].append(group)
                parts[group] = target
        change = vectors[i] - vectors[j]
        excess[a] = excess[a] - change
        excess[b] = excess[b] + change
    return parts


def _kinds(counts: csr_array) -> list[tuple[tuple[int, int], ...]]:
    """What each group brings, as pairs of (minus the column, the count).

    The minus lets kinds be sorted as their whole rows would be.
    """
    counts.sort_indices()
    columns, values = (-counts.indices).tolist(), counts.data.tolist()
    return [
        tuple(zip(columns[start:end], values[start:end], strict=True))
        for start, end in pairwise(counts.indptr.tolist())
    ]


def _stay(
    part: str,
    vectors: np.ndarray,
    here: Mapping[tuple[str, int], list[int]],
    held: np.ndarray,
) -> np.ndarray:
    """Which kinds cannot leave a part: those it has none of, or that take the last of a label."""
    absent = np.array([not here[part, row] for row in range(len(vectors))])
    absent[-1] = False  # nothing can always leave
    takes_last = ((vectors > 0) & (held - vectors < 0.5))[:, :-1].any(axis=1)
    return absent | takes_last
