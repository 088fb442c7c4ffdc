"""Run DVC and other programs to their end."""

import os
import subprocess
import sys
from pathlib import Path

from classifold.errors import UserError


def run_dvc(
    folder: Path, *arguments: str, shown: str = "", remedy: str = "Correct the cause."
) -> str:
    """Run a command of DVC without its usage statistics; see `run_program`."""
    command = (sys.executable, "-m", "dvc", *arguments)
    shown = shown or " ".join(("dvc", *arguments))
    return run_program(folder, *command, shown=shown, remedy=remedy)


def run_program(
    folder: Path, *command: str, shown: str = "", remedy: str = "Correct the cause."
) -> str:
    """Run a program in a folder, without a shell and without input.

    Args:
        folder: where it runs.
        command: the program and its arguments.
        shown: the command as the message of an error shows it.
        remedy: what the user can do about an error.

    Returns:
        What it printed.

    Raises:
        UserError: if it fails.
    """
    done = subprocess.run(  # noqa: S603 - no shell
        command,
        cwd=folder,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise UserError(f"{shown or ' '.join(command)}: failed ({done.stderr.strip()}). {remedy}")
    return done.stdout
