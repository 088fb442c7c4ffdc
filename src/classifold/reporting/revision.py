"""Read the results of another revision, from Git and from the cache of DVC."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from classifold.errors import UserError
from classifold.params.reader import parse_yaml
from classifold.reporting.git import run_git

PARAMS = "params.yaml"
METRICS = ("ingest", "filter", "split", "augment", "models", "stack", "test")
PREDICTIONS = "data/evaluated/predictions.parquet"


class Revision(NamedTuple):
    """Another commit, branch, tag or experiment."""

    name: str  # as the caller wrote it
    commit: str  # short hash
    params: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]  # name of the file -> its content
    predictions: dict[str, list[dict[str, Any]]] | None  # model -> rows; None if not cached


def read_revision(root: Path, name: str) -> Revision:
    """Read the params, metrics and predictions of a revision.

    Args:
        root: root folder of the repository.
        name: name of a commit, as Git understands it, or of an experiment of DVC.

    Raises:
        UserError: if there is no such revision, or if it has no results of the pipeline.
    """
    commit = _find(root, name)
    params = _show(root, commit, PARAMS)
    metrics = {one: _show(root, commit, f"metrics/{one}.json") for one in METRICS}
    files = {PARAMS: params} | {f"metrics/{one}.json": text for one, text in metrics.items()}
    missing = [file for file, text in files.items() if text is None]
    if missing:
        raise UserError(
            f"--against {name}: commit {commit[:7]} has no {missing[0]}, so it has no results of "
            "the pipeline. Choose a commit in which metrics/ is committed."
        )
    content = parse_yaml(params or "", where=f"--against {name}: {PARAMS} of commit {commit[:7]}")
    try:
        read = {one: json.loads(text) for one, text in metrics.items() if text is not None}
    except (ValueError, RecursionError) as error:
        raise UserError(f"--against {name}: commit {commit[:7]} cannot be read: {error}") from None
    return Revision(name, commit[:7], content, read, _read_predictions(root, commit))


def _find(root: Path, name: str) -> str:
    """Find the hash of a commit or experiment."""
    found = run_git(
        root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )
    if found:
        return found.strip()
    listed = run_git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
    for line in listed.splitlines():
        commit, reference = line.split(" ", 1)
        if reference.rsplit("/", 1)[-1] == name:
            return commit
    raise UserError(
        f"--against: must be a branch, tag, commit or experiment of this repository, got {name}. "
        "Run 'git branch --all' or 'dvc exp list --all' to list them."
    )


def _show(root: Path, commit: str, path: str) -> str | None:
    return run_git(root, "show", f"{commit}:{path}")


def _read_predictions(root: Path, commit: str) -> dict[str, list[dict[str, Any]]] | None:
    """Read the predictions of every model, if the cache or a remote has them."""
    # Slow to import, and only used here.
    from dvc.api import read  # noqa: PLC0415
    from dvc.exceptions import DvcException  # noqa: PLC0415
    from dvc_data.index import DataIndexError  # noqa: PLC0415

    try:
        content = read(PREDICTIONS, repo=str(root), rev=commit, mode="rb")
    except (DvcException, DataIndexError, OSError):  # the second: a folder is not in the cache
        return None
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(io.BytesIO(content)).to_pylist():
        rows.setdefault(row["model"], []).append(row)
    return rows
