"""Find out whether a folder has a project for some images, which a run can continue."""

import re
from pathlib import Path

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE, read_mapping
from classifold.project.new_project import path_in_project
from classifold.project.root import find_project

PRESET = re.compile(r'^# .*"classifold init", preset (\w+):$', re.MULTILINE)


def continues(folder: Path, data: Path) -> bool:
    """Return whether a folder is a project for these images; without a project it is not.

    Args:
        folder: a folder that may not exist.
        data: a folder or an archive with images. Of an archive the size is compared, too.

    Raises:
        UserError: if the project is for other images.
    """
    if find_project(folder.resolve()) != folder.resolve():
        return False
    place = path_in_project(data)
    known = str(dict(read_mapping(folder / PARAMS_FILE).get("dataset") or {}).get("path"))
    tracked = folder / f"{place}.dvc"
    same = known == place.as_posix() and tracked.is_file()
    if same and data.is_file():
        same = read_mapping(tracked)["outs"][0]["size"] == data.stat().st_size
    if not same:
        raise UserError(
            f"--out: {folder} has a project for other images ({known}), got {data}. Name another "
            "folder with --out."
        )
    return True


def require_preset(folder: Path, preset: str) -> None:
    """Check that the params of a project were chosen for a preset, if they name any.

    Raises:
        UserError: if they were chosen for another one.
    """
    found = PRESET.search((folder / PARAMS_FILE).read_text(encoding="utf-8"))
    if found and found[1] != preset:
        raise UserError(
            f"--preset: {folder} was made with preset {found[1]}, got {preset}. Name another "
            "folder with --out."
        )
