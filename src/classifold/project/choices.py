"""Choices of params and their reasons, as the head of `params.yaml` lists them."""

import re
import textwrap
from collections.abc import Iterable
from typing import NamedTuple


class Choice(NamedTuple):
    """A value of `params.yaml`, and why it was chosen."""

    key: str  # dotted
    value: str  # as a text
    reason: str


def wrap(choice: Choice, *, prefix: str) -> list[str]:
    """Format a choice in lines of at most 100 characters."""
    return textwrap.wrap(
        f"{choice.key}: {choice.value}: {choice.reason}.",
        width=100,
        initial_indent=prefix,
        subsequent_indent=f"{prefix}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def format_head(choices: Iterable[Choice]) -> str:
    """Format choices as comments, and an empty line."""
    return "".join(f"{line}\n" for choice in choices for line in wrap(choice, prefix="# ")) + "\n"


def replace_choices(text: str, choices: Iterable[Choice], *, removed: Iterable[str] = ()) -> str:
    """Replace choices in the head of a `params.yaml` by those with the same keys.

    Args:
        text: the whole file.
        choices: those that the head does not have are added at its end.
        removed: keys of choices that no longer hold.
    """
    head, _, body = text.partition("\n\n")
    head += "\n"
    entries = {choice.key: format_head([choice])[:-1] for choice in choices}
    for key, new in {**dict.fromkeys(removed, ""), **entries}.items():
        found = re.search(rf"^# {re.escape(key)}: .*\n(?:#   .*\n)*", head, re.MULTILINE)
        head = head.replace(found[0], new) if found else head + new
    return f"{head}\n{body}"
