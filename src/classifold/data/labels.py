"""The labels of an image as one text, such as in CSV files."""

from collections.abc import Iterable

LABEL_SEPARATOR = "|"


def join_labels(labels: Iterable[str]) -> str:
    """Join labels to one text; "" if there are none."""
    return LABEL_SEPARATOR.join(labels)


def split_labels(joined: str) -> list[str]:
    """Split a text of `join_labels`."""
    return joined.split(LABEL_SEPARATOR) if joined else []


def format_labels(joined: str) -> str:
    """Format joined labels for people: "cat, dog", or "no label"."""
    return joined.replace(LABEL_SEPARATOR, ", ") or "no label"
