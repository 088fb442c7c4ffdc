"""Where a result comes from: the commit, and the versions of what computed it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from classifold.reporting.git import ask_git

PACKAGES = ("torch", "torchvision", "numpy", "dvc")


class Provenance(NamedTuple):
    """What one needs to make a result again."""

    commit: str | None  # short hash; None without Git or without a commit
    changed: list[str]  # files that differ from the commit
    versions: dict[str, str]


def read_provenance(root: Path) -> Provenance:
    """Ask Git in `root` and the installed packages."""
    commit = ask_git(root, "rev-parse", "--short", "HEAD")
    status = ask_git(root, "status", "--porcelain") or ""
    return Provenance(
        commit=commit.strip() if commit else None,
        changed=[line[3:] for line in status.splitlines()],
        versions={"python": platform.python_version()}
        | {name: found for name in PACKAGES if (found := _version(name))},
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
