"""The exceptions for mistakes in settings or data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


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
    return ", ".join(names[:max_names]) + (f" and {more:,} others" if more > 0 else "")
