"""Faults that come from outside, such as a full disk, each told as one message."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifold.errors import UserError

# DVC believes what lies in its cache, and what has not been touched since it looked.
REMEDY = (
    "delete it, run 'classifold check --cache', which takes damaged copies out of DVC's "
    "cache, and 'dvc repro', which brings it back"
)

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Libraries that write and allocate by themselves have errors of their own.
WORDS_OF_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
WORDS_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def describe_error(error: Exception) -> str | None:
    """Say what an error means and what to do, if its owner can mend it; None if it is our fault."""
    if isinstance(error, UserError):
        return str(error)
    if _is_full_disk(error):
        return (
            f"the disk is full ({first_line(error)}); free some of it ('dvc gc --workspace' drops "
            "from DVC's cache what this state of the project does not need), and run again: what "
            "was finished is kept"
        )
    if is_out_of_memory(error):
        return (
            f"memory was too small ({first_line(error)}); close other programs, or take a "
            "machine with more, and run again: what was finished is kept"
        )
    if isinstance(error, OSError) and error.errno in FORBIDDEN:
        return f"{error}; see to it that you may write there, and run again"
    return str(error) if isinstance(error, OSError) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small, on a device or not."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS_OF_MEMORY)
    )


@contextmanager
def explain_damage(path: Path, *, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises into one message that names the file, and says what to do.

    That a file is missing, may not be read, or that the machine refuses is no damage of the file.

    Args:
        path: what is read in the block, and nothing else.
        kind: what it should be, such as "a JSON file".

    Raises:
        UserError: in the place of the reader's errors.
    """
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # readers of damaged bytes raise anything, SyntaxError too
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise UserError(
            f"{path} must be {kind}, but is damaged ({first_line(error)}); {REMEDY}"
        ) from None


def _is_full_disk(error: Exception) -> bool:
    known = isinstance(error, OSError) and error.errno in FULL
    return known or any(word in str(error) for word in WORDS_OF_FULL)


def first_line(error: BaseException) -> str:
    """What an error says, if it says anything."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
