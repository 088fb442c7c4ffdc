"""Write files and folders completely or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder, and move it to `path` if the block succeeds.

    A previous folder at `path` is replaced. If the block fails, `path` is unchanged and the
    unfinished folder `<path>.partial`, which Git and DVC ignore, is removed.
    """
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    previous = path.with_name(path.name + ".previous.partial")
    shutil.rmtree(previous, ignore_errors=True)
    if path.exists():
        path.replace(previous)  # atomic, while removing a folder may fail halfway
    partial.replace(path)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def new_file(path: Path, *, partial: Path | None = None) -> Iterator[Path]:
    """Provide a temporary path, and move the file there to `path` if the block succeeds.

    Args:
        path: file to write.
        partial: the temporary path, in the same folder; by default `<path>.<process>.partial`,
            so that several processes, on any computers, may write the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial or _partial_of_process(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _partial_of_process(path: Path) -> Path:
    """Name a temporary file of this process. After a kill it remains; Git and DVC ignore it."""
    return path.with_name(f"{path.name}.{uuid.getnode():x}-{os.getpid()}.partial")
