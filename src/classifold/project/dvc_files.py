"""DVC's own files: those that a stop leaves cut short, and a cache that may be damaged."""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from classifold.errors import UserError
from classifold.reporting.git import run_git
from classifold.runtime.atomic_files import new_file
from classifold.runtime.progress import track

LOCK = "dvc.lock"
COPY = re.compile(r"[0-9a-f]{30}(\.dir)?")  # and no file that a DVC at work has just begun
CONFLICT = "<<<<<<<"  # Git's mark, where two branches are being merged


def mend_dvc_files(root: Path) -> list[str]:
    """Put right what a killed DVC left cut short; nothing is touched while a DVC is at work.

    Nothing is lost with them: `dvc.lock` tells what was finished, and so does DVC's cache of
    runs, from which the next `dvc repro` takes it.

    Returns:
        What was done, in words.

    Raises:
        UserError: if `dvc.lock` is in the middle of a merge.
    """
    done = []
    with _dvc_kept_out(root) as idle:
        lock, blocked = root / LOCK, root / ".dvc/tmp/rwlock"
        if idle and lock.is_file() and not is_whole_lock(text := _text(lock)):
            done.append(_restore(lock, root, merging=CONFLICT in text))
        if idle and blocked.is_file() and not _is_json(blocked):
            blocked.unlink()
            done.append(f"{blocked} was cut short and is removed; it told who was at work")
    return done


def damaged_copies(root: Path) -> list[Path]:
    """Find in DVC's cache what is not what its name says: DVC would hand it out as good."""
    found = sorted((_cache(root) / "files/md5").glob("??/*"))
    copies = [path for path in found if COPY.fullmatch(path.name)]
    damaged = []
    for copy in track(copies, task="look into DVC's cache", total=len(copies), unit="files"):
        with copy.open("rb") as file:
            content = hashlib.file_digest(file, _md5).hexdigest()
        if content != copy.parent.name + copy.name.removesuffix(".dir"):
            damaged.append(copy)
    return damaged


def is_whole_lock(text: str) -> bool:
    """Whether DVC takes this content of `dvc.lock`."""
    # Heavy, and of no use to other commands.
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # noqa: PLC0415
    from voluptuous import Invalid  # noqa: PLC0415

    try:
        COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))
    except (YAMLError, Invalid):
        return False
    return True


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")  # cut in the middle of a letter


def _restore(lock: Path, root: Path, *, merging: bool) -> str:
    if merging:
        raise UserError(
            f"{LOCK} holds both sides of a merge; take one with 'git checkout --ours {LOCK}' or "
            f"'git checkout --theirs {LOCK}', and run 'dvc repro'"
        )
    committed = run_git(root, "show", f"HEAD:./{LOCK}")
    if committed is None:
        lock.unlink()
        return f"{LOCK} was cut short and is removed; what was finished comes from DVC's cache"
    with new_file(lock) as partial:
        partial.write_text(committed, encoding="utf-8")
    return (
        f"{LOCK} was cut short and is now that of the last commit; what was finished since comes "
        "from DVC's cache"
    )


def _cache(root: Path) -> Path:
    """Where DVC's cache is; it may lie elsewhere, and be shared."""
    asked = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise UserError(f"DVC does not say where its cache is ({asked.stderr.strip()})")
    return root / asked.stdout.strip()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)  # DVC's choice


def _is_json(path: Path) -> bool:
    try:
        json.loads(_text(path))
    except ValueError:
        return False
    return True


@contextmanager
def _dvc_kept_out(root: Path) -> Iterator[bool]:
    """Hold DVC's own lock while the block runs, as a DVC does that writes these files.

    Gives whether that was possible; it is not while one is at work.
    """
    folder = root / ".dvc/tmp"
    if not folder.is_dir():
        yield True  # no DVC has been here
        return
    lock = FileLock(folder / "lock", fallback_to_soft=False)
    with contextlib.suppress(OSError):  # Timeout is one, too
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()
