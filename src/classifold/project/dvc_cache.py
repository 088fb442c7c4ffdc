"""Find damaged files in DVC's cache."""

import hashlib
import re
from pathlib import Path

from classifold.project.programs import run_dvc
from classifold.runtime.progress import track

NAME = re.compile(r"[0-9a-f]{30}(\.dir)?")  # but not of a file that DVC is writing


def find_damaged_files(root: Path) -> list[Path]:
    """Find files in DVC's cache whose content does not have the hash that is their name.

    DVC does not notice: it would check them out as good.
    """
    found = sorted((_cache_folder(root) / "files/md5").glob("??/*"))
    files = [path for path in found if NAME.fullmatch(path.name)]
    return [
        path
        for path in track(files, task="check DVC's cache", total=len(files), unit="files")
        if _md5_of(path) != path.parent.name + path.name.removesuffix(".dir")
    ]


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        # DVC's choice of hash
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _cache_folder(root: Path) -> Path:
    """Ask DVC: its cache may be outside of the project, and shared."""
    return root / run_dvc(root, "cache", "dir", remedy="Correct .dvc/config.").strip()
