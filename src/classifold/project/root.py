"""Find the project that a command was started in."""

from pathlib import Path

MARKS = ("dvc.yaml", "params.yaml", "stages")  # a study has the first two as well


def find_project(start: Path) -> Path | None:
    """Return the nearest folder with a project: `start` or one above it; None if there is none.

    Args:
        start: an absolute path.
    """
    for folder in (start, *start.parents):
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    return None
