"""The provenance of a result: the commit, and the versions of the main packages."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from classifold.reporting.git import run_git

# Each run writes them; they are results of the commit, not changes of it.
OUTPUTS = (":(exclude)dvc.lock", ":(exclude)metrics", ":(exclude)studies/*/dvc.lock")

PACKAGES = ("torch", "torchvision", "numpy", "dvc")


class Provenance(NamedTuple):
    """What is needed to reproduce a result."""

    commit: str | None  # short hash; None without Git or without a commit
    changed: list[str]  # files that differ from the commit, without the outputs of the pipeline
    versions: dict[str, str]


def read_provenance(root: Path) -> Provenance:
    """Read the commit from Git in `root`, and the versions of the installed packages."""
    commit = run_git(root, "rev-parse", "--short", "HEAD")
    status = run_git(root, "status", "--porcelain", "--", ".", *OUTPUTS) or ""
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
