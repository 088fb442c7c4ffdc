"""Repair DVC's own files where a DVC that was killed left them cut short."""

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid

from classifold.errors import UserError
from classifold.reporting.git import run_git
from classifold.runtime.atomic_files import new_file

LOCK = "dvc.lock"
CONFLICT = "<<<<<<<"  # Git's conflict marker


def repair_dvc_files(root: Path) -> list[str]:
    """Repair `dvc.lock` and DVC's list of locks; nothing is changed while a DVC is running.

    No result is lost: `dvc.lock` lists what was finished, and so does DVC's run cache, from which
    the next `dvc repro` restores it.

    Returns:
        A description of each repair.

    Raises:
        UserError: if `dvc.lock` contains a merge conflict.
    """
    repairs = []
    with _dvc_locked_out(root) as idle:
        lock, rwlock = root / LOCK, root / ".dvc/tmp/rwlock"
        if idle and lock.is_file() and not is_valid_lock(text := _read(lock)):
            repairs.append(_restore(lock, root, merging=CONFLICT in text))
        if idle and rwlock.is_file() and not _is_json(rwlock):
            rwlock.unlink()
            repairs.append(f"{rwlock} was cut short, deleted. It listed running DVC processes.")
    return repairs


def is_valid_lock(text: str) -> bool:
    """Whether DVC accepts this content of `dvc.lock`."""
    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
    except (YAMLError, Invalid):
        return False
    return True


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")  # may end inside a character


def _restore(lock: Path, root: Path, *, merging: bool) -> str:
    if merging:
        raise UserError(
            f"{LOCK}: contains a merge conflict. Choose one side with 'git checkout --ours {LOCK}' "
            f"or 'git checkout --theirs {LOCK}', and run 'dvc repro'."
        )
    committed = run_git(root, "show", f"HEAD:./{LOCK}")
    if committed is None:
        lock.unlink()
        return f"{LOCK} was cut short, deleted. Finished results are restored from DVC's cache."
    with new_file(lock) as partial:
        partial.write_text(committed, encoding="utf-8")
    return (
        f"{LOCK} was cut short, restored from the last commit. Results finished since are restored "
        "from DVC's cache."
    )


def _is_json(path: Path) -> bool:
    try:
        json.loads(_read(path))
    except ValueError:
        return False
    return True


@contextmanager
def _dvc_locked_out(root: Path) -> Iterator[bool]:
    """Hold DVC's own lock while the block runs, as DVC does when it writes these files.

    Yields:
        Whether the lock could be taken; not while a DVC is running.
    """
    folder = root / ".dvc/tmp"
    if not folder.is_dir():
        yield True  # DVC has never run here
        return
    lock = FileLock(folder / "lock", fallback_to_soft=False)
    with contextlib.suppress(OSError):  # Timeout is one, too
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()
