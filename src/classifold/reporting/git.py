"""Run Git commands that read."""

import shutil
import subprocess
from pathlib import Path


def run_git(root: Path, *arguments: str) -> str | None:
    """Run a Git command in `root`.

    Returns:
        Its output; None if it fails, if Git is missing, or if there is no repository.
    """
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(root), *arguments]
    result = subprocess.run(  # noqa: S603 - no shell
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    return result.stdout if result.returncode == 0 else None
