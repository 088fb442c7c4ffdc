"""What another revision came to: from Git, and from DVC's cache where it holds it."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from classifold.errors import UserError
from classifold.params.reader import parse_yaml
from classifold.reporting.git import ask_git

PARAMS = "params.yaml"
METRICS = ("ingest", "filter", "split", "augment", "models", "stack", "test")
PREDICTIONS = "data/evaluated/predictions.parquet"


class Revision(NamedTuple):
    """Another commit, branch, tag or experiment."""

    name: str  # as it was asked for
    commit: str  # its short hash
    params: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]  # name of the file -> its content
    answers: dict[str, list[dict[str, Any]]] | None  # model -> its rows; None: not in the cache


def read_revision(root: Path, name: str) -> Revision:
    """Read what is committed at `name`.

    Args:
        root: of the repository.
        name: whatever Git takes for a commit, or the name of an experiment of DVC's.

    Raises:
        UserError: if there is no such revision, or no results of the pipeline in it.
    """
    commit = _find(root, name)
    params = _show(root, commit, PARAMS)
    metrics = {one: _show(root, commit, f"metrics/{one}.json") for one in METRICS}
    files = {PARAMS: params} | {f"metrics/{one}.json": text for one, text in metrics.items()}
    missing = [file for file, text in files.items() if text is None]
    if missing:
        raise UserError(
            f"--against {name}: commit {commit[:7]} has no {missing[0]}, so it holds no results "
            "of the pipeline; name a commit in which metrics/ was committed"
        )
    content = parse_yaml(params or "", where=f"--against {name}: {PARAMS} of commit {commit[:7]}")
    try:
        read = {one: json.loads(text) for one, text in metrics.items() if text is not None}
    except (ValueError, RecursionError) as error:
        raise UserError(f"--against {name}: commit {commit[:7]} cannot be read: {error}") from None
    return Revision(name, commit[:7], content, read, _read_answers(root, commit))


def _find(root: Path, name: str) -> str:
    """The hash of a commit, or of an experiment's."""
    found = ask_git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if found:
        return found.strip()
    listed = ask_git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
    for line in listed.splitlines():
        commit, reference = line.split(" ", 1)
        if reference.rsplit("/", 1)[-1] == name:
            return commit
    raise UserError(
        f"--against must be a branch, tag, commit or experiment of this repository, got {name}; "
        "'git branch --all' and 'dvc exp list --all' tell which there are"
    )


def _show(root: Path, commit: str, path: str) -> str | None:
    return ask_git(root, "show", f"{commit}:{path}")


def _read_answers(root: Path, commit: str) -> dict[str, list[dict[str, Any]]] | None:
    """Every model's answers on the test images of then, if the cache or a remote still has them."""
    # Slow to import, and of use here alone.
    from dvc.api import read  # noqa: PLC0415
    from dvc.exceptions import DvcException  # noqa: PLC0415

    try:
        content = read(PREDICTIONS, repo=str(root), rev=commit, mode="rb")
    except (DvcException, OSError):
        return None
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(io.BytesIO(content)).to_pylist():
        rows.setdefault(row["model"], []).append(row)
    return rows
