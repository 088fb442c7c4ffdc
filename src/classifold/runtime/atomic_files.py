"""Folders and files that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, and put it at `path` once the block ends well.

    What stood at `path` is replaced. If the block fails, `path` stays as it was and the
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
        path.replace(previous)  # removing may fail midway; this does not
    partial.replace(path)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def new_file(path: Path, *, partial: Path | None = None) -> Iterator[Path]:
    """Give a path to write a file at, as `new_folder` does with a folder.

    Args:
        path: of the file.
        partial: what becomes it, in the same folder; `<path>.partial`, if not given.
    """
    partial = partial or _partial(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")
