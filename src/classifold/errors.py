"""The exceptions for mistakes in settings or data."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MAX_CHOICES = 30


class UserError(ValueError):
    """A setting or file that the user can correct: shown as one message, without a traceback.

    The message names the setting or file, what is wrong, the value, and what to do.
    """


class SettingError(UserError):
    """An error in a section of params; its message begins with a key of this section.

    Callers that know where the section is put its path before the key, by `in_section`.
    """


@contextmanager
def in_section(path: str) -> Iterator[None]:
    """Put the path of a section, such as `models.mlp`, before the keys in its errors.

    Raises:
        SettingError: in the place of those that the block raises.
    """
    try:
        yield
    except SettingError as error:
        raise SettingError(f"{path}.{error}") from None


def list_names(names: Sequence[str], *, max_names: int = 3) -> str:
    """List names for a message: if there are many, the first ones and the number of others."""
    more = len(names) - max_names
    rest = f" and {more:,} other{'s' if more > 1 else ''}" if more > 0 else ""
    return ", ".join(names[:max_names]) + rest


def closest_name(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that is most similar to an unknown one; None if none is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def describe_choices(name: str, known: Iterable[str], *, listed_by: str | None = None) -> str:
    """Suggest the known name that is most similar to an unknown one, and list known names.

    Args:
        name: the unknown name.
        known: the names to choose from.
        listed_by: what lists them, where they are too many for a message.
    """
    known = list(known)
    if len(known) < 2:
        return f"The only one is {known[0]}." if known else "There are none."
    close = closest_name(name, known)
    hint = f"Did you mean '{close}'? " if close else ""
    if listed_by is not None:
        return f"{hint}See {listed_by}."
    return f"{hint}Choose one of {list_names(known, max_names=MAX_CHOICES)}."
