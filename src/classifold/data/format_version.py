"""The version of the format of models, ensembles, packs and image tables.

Format 1, before there were versions, is the same but for the version. A change that older code
cannot read, or that gives its keys another meaning, is a new version.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifold.errors import UserError

KEY = "format_version"
WRITTEN = {KEY: 2}
READABLE = (1, 2)


def check_format(path: Path, description: Mapping[str, Any]) -> None:
    """Refuse a file of a format that this code cannot read.

    Args:
        path: the file.
        description: its content, or its metadata; without a version, the format is 1.

    Raises:
        UserError: if its format is another one.
    """
    version = description.get(KEY, 1)
    if type(version) is int and version in READABLE:
        return
    raise UserError(
        f"{path}: must have format {' or '.join(map(str, READABLE))}, got {version!r}, which is of "
        "another version of Classifold. Install that version, or a newer one, "
        "or make the file again with 'dvc repro'."
    )
