"""Choose and describe examples of excluded images and of groups of duplicates."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import islice, zip_longest
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

from classifold.data.image_table import TEST, UNLABELED
from classifold.data.labels import format_labels

Row = Mapping[str, str]

Item = TypeVar("Item")


class DuplicateGroup(NamedTuple):
    """Images that are duplicates of one another."""

    rows: list[Row]  # rows of duplicates.csv
    labels_differ: bool
    any_near: bool  # some of them are near duplicates

    def title(self, *, n_shown: int) -> str:
        """Describe the group: number of images, whether labels differ, number of images shown."""
        differ = ", labels differ" if self.labels_differ else ""
        some = f", {n_shown} shown" if n_shown < len(self.rows) else ""
        return f"{len(self.rows):,} duplicates{differ}{some}"


def spread(
    items: Sequence[Item], *, over: Sequence[Callable[[Item], Hashable]], max_items: int
) -> list[Item]:
    """Choose items of each kind in turn, so that frequent kinds do not displace rare ones.

    Args:
        items: to choose from; of each kind the first are chosen.
        over: functions whose values define the kinds, the most important first; each kind is
            spread over the next function.
        max_items: largest number of items to choose.
    """
    if not over:
        return list(items[:max_items])
    kinds: dict[Hashable, list[Item]] = {}
    for item in items:
        kinds.setdefault(over[0](item), []).append(item)
    turns = zip_longest(
        *(spread(kind, over=over[1:], max_items=max_items) for kind in kinds.values())
    )
    return list(islice((item for turn in turns for item in turn if item is not None), max_items))


def choose_excluded(excluded: Sequence[Row], *, max_items: int) -> list[Row]:
    """Choose images of each reason and, within a reason, of each class; sorted by reason."""
    chosen = spread(excluded, over=[itemgetter("reason"), itemgetter("label")], max_items=max_items)
    return sorted(chosen, key=itemgetter("reason", "id"))


def duplicate_groups(rows: Sequence[Row]) -> list[DuplicateGroup]:
    """Gather the rows of `duplicates.csv` by their group."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return [
        DuplicateGroup(
            rows=members,
            # An unlabeled image contradicts no other.
            labels_differ=len({row["label"] for row in members if row["split"] != UNLABELED}) > 1,
            any_near=any(row["kind"] == "near" for row in members),
        )
        for members in groups.values()
    ]


def choose_groups(groups: Sequence[DuplicateGroup], *, max_items: int) -> list[DuplicateGroup]:
    """Choose groups of each sort: labels differ or not, with near duplicates or exact ones only."""
    return spread(
        groups, over=[attrgetter("labels_differ"), attrgetter("any_near")], max_items=max_items
    )


def choose_duplicates(group: DuplicateGroup, *, max_items: int) -> list[Row]:
    """Choose images of a large group, of each label and outcome, in the order of the group."""
    keys = ("label", "kept", "split", "kind")
    chosen = spread(group.rows, over=[itemgetter(key) for key in keys], max_items=max_items)
    ids = {row["id"] for row in chosen}
    return [row for row in group.rows if row["id"] in ids]


def format_measured(row: Row) -> str:
    """Describe the measured value for which an image was excluded."""
    words = {
        "size": "is",
        "duplicate": "duplicate of",
        "conflicting_labels": "labeled",
        "limit": "beyond",
    }
    measured = row["measured"]
    if row["reason"] == "conflicting_labels":
        measured = format_labels(measured)
    return f"{words.get(row['reason'], 'measured')} {measured}"


def describe_duplicate(row: Row, reason: str = "") -> list[str]:
    """Describe the outcome for a duplicate, with the reason of `excluded.csv`, and its kind."""
    outcome = "kept" if is_kept(row) else "excluded"
    if reason:
        outcome += f" ({reason.replace('_', ' ')})"
    official = {TEST: ", official test", UNLABELED: ", unlabeled"}
    return [f"{outcome}{official.get(row['split'], '')}", f"{row['kind']} duplicate"]


def is_kept(row: Row) -> bool:
    """Check whether the filter kept a duplicate."""
    return row["kept"] == "true"


def shorten(text: str, max_characters: int) -> str:
    """Remove the middle of a long text, since file names differ at their ends."""
    if len(text) <= max_characters:
        return text
    n_last = max_characters // 2
    return f"{text[: max_characters - n_last - 1]}…{text[-n_last:]}"
