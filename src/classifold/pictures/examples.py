"""Examples of what the filter found: excluded images and groups of duplicates."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice, zip_longest
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

from classifold.data.image_table import HELD_OUT, LABEL_SEPARATOR, UNLABELLED

Row = Mapping[str, str]

Item = TypeVar("Item")


class CopyGroup(NamedTuple):
    """Images that are copies of one another."""

    rows: list[Row]  # of duplicates.csv
    labels_differ: bool
    any_near: bool  # some of them look alike and are not equal

    def title(self, *, n_shown: int) -> str:
        """How many there are, whether that troubles, and how many are shown."""
        differ = ", labels differ" if self.labels_differ else ""
        some = f", {n_shown} shown" if n_shown < len(self.rows) else ""
        return f"{len(self.rows):,} copies{differ}{some}"


def spread(
    items: Sequence[Item], *, over: Sequence[Callable[[Item], Hashable]], most: int
) -> list[Item]:
    """Choose items, of each kind in turn, so that a frequent kind hides no other.

    Args:
        items: to choose from; of a kind the first are chosen.
        over: what tells kinds apart, the most important first; each is spread over the next.
        most: how many to choose, at most.
    """
    if not over:
        return list(items[:most])
    kinds: dict[Hashable, list[Item]] = {}
    for item in items:
        kinds.setdefault(over[0](item), []).append(item)
    turns = zip_longest(*(spread(kind, over=over[1:], most=most) for kind in kinds.values()))
    return list(islice((item for turn in turns for item in turn if item is not None), most))


def choose_left_out(excluded: Sequence[Row], *, most: int) -> list[Row]:
    """Choose of every reason, and of that of every class; what has one reason comes together."""
    chosen = spread(excluded, over=[itemgetter("reason"), itemgetter("label")], most=most)
    return sorted(chosen, key=itemgetter("reason", "id"))


def copy_groups(copies: Sequence[Row]) -> list[CopyGroup]:
    """Gather the rows of `duplicates.csv` by their group."""
    groups: dict[str, list[Row]] = {}
    for row in copies:
        groups.setdefault(row["group"], []).append(row)
    return [
        CopyGroup(
            rows=rows,
            # An image that waits for a label contradicts no other.
            labels_differ=len({row["label"] for row in rows if row["split"] != UNLABELLED}) > 1,
            any_near=any(row["kind"] == "near" for row in rows),
        )
        for rows in groups.values()
    ]


def choose_groups(groups: Sequence[CopyGroup], *, most: int) -> list[CopyGroup]:
    """Choose groups with different labels, groups that only look alike, and plain ones."""
    return spread(groups, over=[attrgetter("labels_differ"), attrgetter("any_near")], most=most)


def choose_copies(group: CopyGroup, *, most: int) -> list[Row]:
    """Choose of a large group, of every label and fate, in the order of the group."""
    keys = ("label", "kept", "split", "kind")
    chosen = spread(group.rows, over=[itemgetter(key) for key in keys], most=most)
    ids = {row["id"] for row in chosen}
    return [row for row in group.rows if row["id"] in ids]


def measured_in_words(row: Row) -> str:
    """What was measured of an image left out."""
    words = {
        "size": "is",
        "duplicate": "copy of",
        "conflicting_labels": "labelled",
        "limit": "beyond",
    }
    measured = row["measured"]
    if row["reason"] == "conflicting_labels":
        measured = measured.replace(LABEL_SEPARATOR, ", ")
    return f"{words.get(row['reason'], 'measured')} {measured}"


def labels_in_words(row: Row) -> str:
    """The labels of an image, or that it has none."""
    return row["label"].replace(LABEL_SEPARATOR, ", ") or "no label"


def copy_in_words(row: Row) -> list[str]:
    """What became of a copy, and how equal it is to another of its group."""
    fate = "kept" if is_kept(row) else "left out"
    official = {HELD_OUT: ", official test", UNLABELLED: ", to be labelled"}
    return [f"{fate}{official.get(row['split'], '')}", f"{row['kind']} copy"]


def is_kept(row: Row) -> bool:
    """Whether the filter kept a copy."""
    return row["kept"] == "true"


def shorten(text: str, most: int) -> str:
    """Cut out the middle of a long text: names differ at their ends."""
    if len(text) <= most:
        return text
    n_last = most // 2
    return f"{text[: most - n_last - 1]}…{text[-n_last:]}"
