"""Find the project that DVC copied for an experiment."""

from pathlib import Path

# Where DVC copies the project for experiments that do not run in the workspace.
EXPERIMENT_FOLDERS = (".dvc", "tmp", "exps")


def original_project(root: Path) -> Path:
    """Return the root folder of the project that `root` is a copy of, or `root` if it is none.

    Args:
        root: root folder of a project, or of a copy in which DVC runs an experiment of a queue.
    """
    parts = root.resolve().parts
    for end in range(len(parts) - len(EXPERIMENT_FOLDERS)):
        if parts[end : end + len(EXPERIMENT_FOLDERS)] == EXPERIMENT_FOLDERS:
            return Path(*parts[:end])
    return root
