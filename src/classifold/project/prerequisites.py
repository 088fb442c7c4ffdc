"""Check that what a command needs is there, before it starts."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from classifold.errors import UserError

EMBEDDED = Path("data/raw/digits")  # made by the stage `digits`
PACKS = Path("data/augmented")


def require_dataset(dataset: Mapping[str, str]) -> None:
    """Check that `dataset.path` exists; DVC's own message has no remedy.

    Args:
        dataset: the section of params.yaml.

    Raises:
        UserError: if it does not exist, and DVC cannot make it.
    """
    path, layout = Path(dataset["path"]), dataset["layout"]
    if layout.startswith("torchvision:") and not path.is_dir():
        raise UserError(
            f"dataset.path: {path} is not a folder. Create it with 'mkdir -p {path}'; {layout} is "
            "downloaded into it if there is a network."
        )
    try:
        exists = path.exists()
    except OSError as error:  # for example, a name that is too long for a file
        raise UserError(f"dataset.path: cannot be a path ({error.strerror}). Correct it.") from None
    made_by_dvc = path == EMBEDDED or Path(f"{path}.dvc").is_file()
    if not exists and not made_by_dvc:
        raise UserError(
            f"dataset.path: {path} does not exist. Correct it, or add your images with 'dvc add "
            f"<folder or zip> -o {path}'."
        )


def require_packs() -> None:
    """Check that the training images are packed.

    Raises:
        UserError: if they are not.
    """
    if not (PACKS / "train" / "pack.json").is_file():
        raise UserError(f"{PACKS}: there is no pack. Make it with 'dvc repro augment'.")


def require_name(name: str, section: str, known: Iterable[str]) -> None:
    """Check that a section of params.yaml has an entry of this name.

    Raises:
        UserError: if it has none.
    """
    if name not in known:
        raise UserError(
            f"{section}: params.yaml has no '{name}'. Choose one of {', '.join(known)}."
        )
