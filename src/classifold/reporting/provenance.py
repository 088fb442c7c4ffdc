"""Where a result comes from: the commit, and the versions of what computed it."""

import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("torch", "torchvision", "numpy", "dvc")


class Provenance(NamedTuple):
    """What one needs to make a result again."""

    commit: str | None  # short hash; None without Git or without a commit
    changed: list[str]  # files that differ from the commit
    versions: dict[str, str]


def read_provenance(root: Path) -> Provenance:
    """Ask Git in `root` and the installed packages."""
    commit = ask_git(root, "rev-parse", "--short", "HEAD").strip() or None
    status = ask_git(root, "status", "--porcelain") if commit else ""
    return Provenance(
        commit=commit,
        changed=[line[3:] for line in status.splitlines()],
        versions={"python": platform.python_version()}
        | {name: found for name in PACKAGES if (found := _version(name))},
    )


def ask_git(root: Path, *arguments: str) -> str:
    """What Git answers in `root`; nothing where it is missing or `root` is in no repository."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(root), *arguments]
    answer = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    return answer.stdout if answer.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
