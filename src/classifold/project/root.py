"""Find the project that a command was started in."""

from pathlib import Path

MARKS = ("dvc.yaml", "params.yaml")
CODE = ("stages", "code")  # of a clone, of a project of its own; a study has neither


def find_project(start: Path) -> Path | None:
    """Return the nearest folder with a project: `start` or one above it; None if there is none.

    Args:
        start: an absolute path.
    """
    for folder in (start, *start.parents):
        present = [(folder / name).exists() for name in MARKS]
        if all(present) and any((folder / name).is_dir() for name in CODE):
            return folder
    return None
