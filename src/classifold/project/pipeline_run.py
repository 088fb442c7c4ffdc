"""Run the pipeline of a project as a subprocess, on the terminal of the user."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifold.errors import UserError


def repro(root: Path, *arguments: str) -> None:
    """Run `dvc repro` in a project, with its output on the terminal.

    Raises:
        UserError: if a stage fails; its message is on the terminal.
        KeyboardInterrupt: after Ctrl-C, when DVC has ended.
    """
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    process = subprocess.Popen(command, cwd=root, env=_environment())  # noqa: S603 - no shell
    with _signals(process) as received:
        code = process.wait()
    if signal.SIGTERM in received:
        sys.exit(128 + signal.SIGTERM)
    if received:
        raise KeyboardInterrupt
    if code:
        raise UserError(
            f"{root}: dvc repro failed, see above. Correct the cause, and run the same command "
            "again; finished stages and epochs are kept."
        )


def _environment() -> dict[str, str]:
    """The environment of stages, which find the `classifold` that runs here."""
    started = shutil.which(sys.argv[0])
    tools = Path(started or sys.executable).parent
    return os.environ | {"PATH": os.pathsep.join([str(tools), os.environ.get("PATH", "")])}


@contextmanager
def _signals(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Note signals, and pass on those that a process does not get itself.

    A terminal sends Ctrl-C to all its processes: DVC ends its stage, and writes its files.
    """
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        if number == signal.SIGTERM:
            process.terminate()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
