"""Find out whether a folder has a project for some images, which a run can continue."""

import os
import re
import shlex
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
        data: a folder or an archive with images. If it still exists, sizes are compared, too.

    Raises:
        UserError: if the project is for other images.
    """
    if find_project(folder.resolve()) != folder.resolve():
        return False
    place = path_in_project(data)
    known = str(dict(read_mapping(folder / PARAMS_FILE).get("dataset") or {}).get("path"))
    tracked = folder / f"{place}.dvc"
    if (
        known != place.as_posix()
        or not tracked.is_file()
        or (data.exists() and _differ(data, tracked))
    ):
        raise UserError(
            f"--out: {folder} has a project for other images ({known}), got {data}. Name another "
            f"folder with --out. If these are its images and you changed them, run 'dvc add "
            f"{shlex.quote(str(data.resolve()))} -o {place}' in it first."
        )
    return True


def _differ(data: Path, tracked: Path) -> bool:
    """Compare the number and sizes of files with those that DVC has noted."""
    # DVC follows links to files and not to folders, as this does.
    inside = (Path(top) / name for top, _, names in os.walk(data) for name in names)
    files = [data] if data.is_file() else list(inside)
    size = sum(path.stat().st_size for path in files)
    known = read_mapping(tracked)["outs"][0]
    return (known["size"], known.get("nfiles", 1)) != (size, len(files))


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
