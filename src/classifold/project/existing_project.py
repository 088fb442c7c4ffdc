"""Find out whether a folder has a project for some images, which a run can continue."""

import filecmp
import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE, read_mapping
from classifold.project.new_project import path_in_project
from classifold.project.root import find_project
from classifold.runtime.progress import track

PRESET = re.compile(r'^# .*"classifold init", preset (\w+):$', re.MULTILINE)


def continues(folder: Path, data: Path) -> bool:
    """Return whether a folder is a project for these images; without a project it is not.

    Args:
        folder: a folder that may not exist.
        data: a folder or an archive with images. If it still exists, names and sizes of its files
            are compared, too, and the content of those that are newer than the project's copy.

    Raises:
        UserError: if the project is for other images.
    """
    if find_project(folder.resolve()) != folder.resolve():
        return False
    known = str(dict(read_mapping(folder / PARAMS_FILE).get("dataset") or {}).get("path"))
    if not _is_for(folder, known, data):
        raise UserError(
            f"--out: {folder} has a project for other images ({known}), got {data}. Name another "
            "folder with --out. If these are its images and you changed them, first run: "
            f"cd {shlex.quote(str(folder))} && dvc add {shlex.quote(str(data.resolve()))} -o "
            f"{shlex.quote(known)}"
        )
    return True


def _is_for(folder: Path, known: str, data: Path) -> bool:
    """Compare images with those of a project; an archive must also have the same name."""
    tracked = folder / f"{known}.dvc"
    if not tracked.is_file():
        return False
    has_name = path_in_project(data).as_posix() == known
    if not data.exists():
        return has_name
    sizes, copy = _sizes(data), folder / known
    if copy.exists():
        same = sizes == _sizes(copy) and not _changed_since(tracked, data, copy, names=sizes)
    else:
        noted = read_mapping(tracked)["outs"][0]
        same = (noted["size"], noted.get("nfiles", 1)) == (sum(sizes.values()), len(sizes))
    return same and (has_name or (data.is_dir() and copy.is_dir()))


def _changed_since(tracked: Path, data: Path, copy: Path, *, names: Iterable[str]) -> bool:
    """Return whether a file that is newer than the project's copy differs from it.

    Files with an older time of change were copied as they are.
    """
    copied = tracked.stat().st_mtime

    def is_newer(file: Path) -> bool:
        stat = file.stat()
        return max(stat.st_mtime, stat.st_ctime) > copied

    newer = [name for name in names if is_newer(data / name)]
    newer_ones = track(newer, task="compare images", total=len(newer), unit="images")
    return not all(filecmp.cmp(data / name, copy / name, shallow=False) for name in newer_ones)


def _sizes(path: Path) -> dict[str, int]:
    """The size of each file, by its path inside a folder."""
    # DVC follows links to files and not to folders, as this does.
    inside = (Path(top) / name for top, _, names in os.walk(path) for name in names)
    files = [path] if path.is_file() else list(inside)
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}


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
