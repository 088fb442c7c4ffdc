"""Messages for errors with an external cause, such as a full disk or a damaged file."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifold.errors import UserError

# DVC does not check files in its cache, nor files whose modification time has not changed.
REMEDY = (
    "delete it, run 'classifold check --cache' to delete damaged files from DVC's cache, and "
    "create it again with 'dvc repro'"
)

RUN_AGAIN = "Then run the same command again; finished stages and epochs are kept."

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)

# Libraries raise their own errors with these texts.
DISK_FULL_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")
OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory")


def describe_error(error: Exception) -> str | None:
    """Describe an error and its remedy if the user can fix it; otherwise return None."""
    if isinstance(error, UserError):
        return str(error)
    if _is_full_disk(error):
        return (
            f"the disk is full ({first_line(error)}). Free some space, for example with 'dvc gc "
            "--workspace --all-branches --all-experiments', which deletes files from DVC's cache "
            f"that no branch and no experiment uses. {RUN_AGAIN}"
        )
    if is_out_of_memory(error):
        return (
            f"out of memory ({first_line(error)}). Close other programs, or use a machine with "
            f"more memory. {RUN_AGAIN}"
        )
    if isinstance(error, EOFError) and "marshal" in str(error):
        return (
            f"a compiled file of Python is damaged ({error}), as after a full disk. Delete all "
            f"folders __pycache__ in {Path(__file__).parents[1]}, or install Classifold again. "
            f"{RUN_AGAIN}"
        )
    return _describe_os_error(error) if isinstance(error, OSError) else None


def _describe_os_error(error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and error.filename:
        return (
            f"{error.filename}: no such file. If an earlier stage writes it, run 'dvc repro', "
            "which runs the stages that this one needs."
        )
    if not error.strerror:
        return str(error)
    path = error.filename2 or error.filename  # of a file that is renamed, its new name
    place = f"{path}: " if path else ""
    remedy = f" Change the permissions or the owner. {RUN_AGAIN}"
    return f"{place}{error.strerror.removesuffix('.')}.{remedy if error.errno in FORBIDDEN else ''}"


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether an error means that the machine or the device is out of memory."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY_TEXTS)
    )


@contextmanager
def explain_damage(path: Path, *, kind: str) -> Iterator[None]:
    """Raise one error with the file and a remedy if the block cannot parse the file.

    Errors of the system, such as a missing file or permission, are raised unchanged.

    Args:
        path: the only file that the block reads.
        kind: what the file should be, such as "a JSON file".

    Raises:
        UserError: instead of the errors of the reader, and for a pipe or a device, which would
            block it or never end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path}: must be {kind}, got a pipe or a device; {REMEDY}")
    try:
        yield
    except (UserError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # readers of damaged files raise any error, even SyntaxError
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise UserError(
            f"{path}: must be {kind}, but is damaged ({first_line(error)}); {REMEDY}"
        ) from None


def _is_full_disk(error: Exception) -> bool:
    known = isinstance(error, OSError) and error.errno in DISK_FULL
    return known or any(text in str(error) for text in DISK_FULL_TEXTS)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if there is no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
