"""Remember the last check that passed, so that an unchanged project is not checked again.

Building the networks needs PyTorch, which takes seconds to import.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from classifold.runtime.atomic_files import new_file
from classifold.runtime.source_code import hash_of_sources

CACHE = Path(".cache/check.json")


class Outcome(NamedTuple):
    """What a check that passed prints."""

    lines: list[str]
    warnings: list[str]


def fingerprint(params: Mapping[str, Any]) -> str:
    """Hash all that the outcome of a check depends on.

    These are the params; the code, Python and the installed packages; and names, sizes and times of
    the files of the data set and of weights. Their content is not read.
    """
    files = [Path(params["dataset"]["path"]), *_weights_files(params["models"].values())]
    content = [
        json.dumps(params, default=str),
        hash_of_sources(),
        sys.version,
        *sorted(_packages()),
        *(f"{name} {state}" for path in files for name, state in _states(path)),
    ]
    return hashlib.sha256("\n".join(content).encode(errors="surrogatepass")).hexdigest()


def read_outcome(key: str) -> Outcome | None:
    """Return what the last check printed if it had this key, and otherwise None."""
    try:
        known = json.loads(CACHE.read_text(encoding="utf-8"))
        outcome = Outcome(list(known["lines"]), list(known["warnings"]))
        return outcome if known["key"] == key else None
    except (OSError, ValueError, LookupError, TypeError):  # none yet, or damaged
        return None


def write_outcome(key: str, outcome: Outcome) -> None:
    """Remember what a check that passed printed."""
    with new_file(CACHE) as partial:
        partial.write_text(json.dumps({"key": key, **outcome._asdict()}), encoding="utf-8")


def _packages() -> set[str]:
    """List the installed packages as `<name>-<version>`."""
    folders = [Path(folder) for folder in sys.path if Path(folder).is_dir()]
    # An import of setuptools adds its own packages to the path, for some commands only.
    folders = [folder for folder in folders if folder.name != "_vendor"]
    return {path.stem for folder in folders for path in folder.glob("*.dist-info")}


def _weights_files(models: Iterable[Mapping[str, Any]]) -> Iterator[Path]:
    for model in models:
        weights = model["arguments"].get("weights")
        if isinstance(weights, Mapping) and "file" in weights:
            yield Path(weights["file"]).expanduser()


def _states(path: Path) -> Iterator[tuple[str, tuple[int, int] | None]]:
    """Yield the names, sizes and modification times of a file, or of all files of a folder."""
    if not os.path.isdir(path):  # noqa: PTH112 - Path's fails for a name that is too long
        yield str(path), _state(path)
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file = Path(folder) / name
            yield str(file), _state(file)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except (OSError, ValueError):  # missing, a broken link, or no possible name
        return None
    return state.st_size, state.st_mtime_ns
