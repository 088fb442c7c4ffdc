"""Files of the repository beside `src/`, which an installed package brings in a folder of its own.

These are the stages, the recipes, `dvc.yaml` and what DVC's charts need. `setup.py` lists them.
"""

from pathlib import Path

from classifold.runtime.source_code import IN_WHEEL, PACKAGE

REPOSITORY = IN_WHEEL if IN_WHEEL.is_dir() else PACKAGE.parents[1]


def list_stages() -> dict[str, Path]:
    """Name -> script of each stage, in the order of their names."""
    return {path.stem: path for path in sorted((REPOSITORY / "stages").glob("*.py"))}
