"""Remove the files of models that are no longer listed in params.yaml."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from classifold.runtime.progress import log


def remove_unlisted(
    names: Sequence[str], *, folders: Mapping[Path, str], json_folders: Sequence[Path]
) -> None:
    """Remove the files of models that are no longer listed; DVC's cache keeps them.

    `dvc pull` restores only the listed models. A folder with the files of further models would
    have another hash, and the stages that read it would run again on another machine.

    Args:
        names: the models listed in params.
        folders: folder with one folder per model -> the file that marks a model's folder.
        json_folders: folders with one `<model>.json` per model.
    """
    for folder, mark in folders.items():
        for path in sorted(folder.glob("*")):
            if path.name not in names and (path / mark).is_file():
                log(f"  removing {path}: not listed in params.yaml (DVC's cache keeps it)")
                shutil.rmtree(path)
    for folder in json_folders:
        for path in sorted(folder.glob("*.json")):
            if path.stem not in names:
                path.unlink()
