"""Check that what a command needs is there, before it starts."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from classifold.errors import UserError, describe_choices
from classifold.project.root import find_project

EMBEDDED = Path("data/raw/digits.zip")  # in Git
PACKS = Path("data/augmented")


def require_project() -> None:
    """Check that the current folder is that of a project.

    Raises:
        UserError: if it is not.
    """
    if find_project(Path.cwd()) is None:
        raise UserError(
            f"params.yaml: {Path.cwd()} is in no project. Run in the folder of a project, or in "
            "one of its subfolders."
        )


def require_packs() -> None:
    """Check that the training images are packed.

    Raises:
        UserError: if they are not.
    """
    if not (PACKS / "train" / "pack.json").is_file():
        raise UserError(f"{PACKS}: there is no pack. Make it with 'dvc repro augment'.")


def require_output(path: Path, *, example: str, suffixes: Sequence[str] = ()) -> None:
    """Check that the file named by `--out` can be written; no folder is created for it.

    Args:
        path: the file.
        example: the name of such a file, for messages.
        suffixes: accepted ends of its name; none accepts all.

    Raises:
        UserError: if it cannot.
    """
    if path.is_dir():
        raise UserError(f"--out: {path} is a folder. Name a file, such as {path / example}.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(
            f"--out: must end with {' or '.join(suffixes)}, got '{path}'. Change its ending."
        )
    _require_place(path)


def require_output_folder(path: Path) -> None:
    """Check that the folder named by `--out` exists, or can be created in an existing folder.

    Raises:
        UserError: if it does not, and cannot.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out: must be a folder, got the file {path}. Name a folder.")
    _require_place(path)


def require_new_folder(path: Path) -> None:
    """Check that the folder named by `--out` does not exist, and can be created.

    Raises:
        UserError: if it exists, or cannot be created.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"--out: must be a new folder, got {path}, which exists. Name another one.")
    _require_place(path)


def _require_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise UserError(
            f"--out: {path.parent} is not a folder, got {path}. Create it with 'mkdir -p "
            f"{path.parent}', or choose another one."
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"--out: no permission to write, got {path}. Choose another folder.")


def require_name(name: str, section: str, known: Iterable[str]) -> None:
    """Check that a section of params.yaml has an entry of this name.

    Raises:
        UserError: if it has none.
    """
    if name not in known:
        raise UserError(f"{section}: params.yaml has no '{name}'. {describe_choices(name, known)}")
