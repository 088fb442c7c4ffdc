"""Check that what a command needs is there, before it starts."""

from collections.abc import Iterable
from pathlib import Path

from classifold.errors import UserError

EMBEDDED = Path("data/raw/digits.zip")  # in Git
PACKS = Path("data/augmented")


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
