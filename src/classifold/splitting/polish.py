"""Trade images between parts until no trade brings their mixes of labels closer."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

# Images with the same labels are one kind. Trades of the most frequent kinds do; the square of
# this many is weighed at each step.
MOST_KINDS = 400
MOST_TRADES = 2000


def polish(parts: list[str], counts: np.ndarray, *, targets: Mapping[str, np.ndarray]) -> list[str]:
    """Swap or move groups between parts as long as the counts come closer to their targets.

    Greedy iterative stratification settles each label in its turn; where every image bears
    some, nothing is left at the end to make up for what sizes and labels are off.

    Args:
        parts: the part of each group.
        counts: int array (n_groups, n_counts); what each group brings: its images of each
            label, and all its images.
        targets: part -> float array (n_counts,), what the part should hold.

    Returns:
        The part of each group.
    """
    kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
    frequent = np.argsort(-np.bincount(kind_of), kind="stable")[:MOST_KINDS]
    vectors = np.vstack([kinds[frequent], np.zeros_like(kinds[:1])]).astype(float)  # or nothing
    place = {int(kind): row for row, kind in enumerate(frequent)}
    here: dict[tuple[str, int], list[int]] = defaultdict(list)  # (part, row) -> groups
    for group, (part, kind) in enumerate(zip(parts, kind_of.tolist(), strict=True)):
        if kind in place:
            here[part, place[kind]].append(group)
    excess = {name: -target for name, target in targets.items()}
    for name in targets:
        excess[name] = excess[name] + counts[np.array(parts) == name].sum(axis=0)
    # Deviations count as shares of their part: one image off is worse in a small part.
    scale = {name: 1 / max(target[-1], 1.0) for name, target in targets.items()}
    squares = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)

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
