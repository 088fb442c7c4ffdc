"""Questions to Git."""

import shutil
import subprocess
from pathlib import Path


def ask_git(root: Path, *arguments: str) -> str | None:
    """What Git answers in `root`; None where it refuses, is missing, or there is no repository."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(root), *arguments]
    answer = subprocess.run(  # noqa: S603 - no shell
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False
    )
    return answer.stdout if answer.returncode == 0 else None
