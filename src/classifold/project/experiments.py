"""List DVC's experiments with their validation scores and the params that they changed."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from classifold.params.differences import differing_keys
from classifold.params.reader import PARAMS_FILE
from classifold.project.programs import run_dvc
from classifold.reporting.git import run_git

# A finished experiment is a Git reference below its commit; a queued or failed one is in a stash.
FINISHED = re.compile(r"^refs/exps/(?P<first>[0-9a-f]{2})/(?P<rest>[0-9a-f]{38})/", re.MULTILINE)
STASHES = ("refs/exps/celery/stash", "refs/exps/celery/failed")
IN_STASH = re.compile(r"dvc-exp:[0-9a-f]+:([0-9a-f]{40}):")

LAST_STAGE = "report"

SCORES = ("validation_accuracy", "validation_micro_f1")  # for one label per image, for several


class Experiment(NamedTuple):
    """An experiment, a commit that has some, or the workspace."""

    name: str
    state: str  # commit, changed (since its last run), success, queued, running or failed
    stack: float | None  # validation score; None if there is none, or the run is not finished
    best_model: tuple[str, float] | None
    spread: Mapping[str, Any] | None  # of this model's scores, if it has several seeds
    changes: list[str]  # changes of params, compared with the commit


def list_experiments(root: Path) -> Iterator[Experiment]:
    """Yield the workspace, the current commit, and all commits that have experiments, with these.

    Only these commits are read: DVC takes a third of a second per commit.

    Raises:
        UserError: if DVC cannot list them.
    """
    workspace, *commits = _show(root, _commits_with_experiments(root))
    base = _params(commits[0]) if commits else {}
    state = "commit" if _is_reproduced(root, _params(workspace)) else "changed"
    yield _experiment("workspace", workspace, base, state=state)
    for commit in commits:
        base = _params(commit)
        name = f"{commit['name'] or ''} {commit['rev'][:7]}".strip()
        yield _experiment(name, commit, base, state="commit")
        for entry in commit["experiments"] or []:
            (last, *_) = entry["revs"]
            state = (entry["executor"] or {}).get("state", "success")
            yield _experiment(last["name"] or last["rev"][:7], last, base, state=state)


def _commits_with_experiments(root: Path) -> list[str]:
    names = run_git(root, "for-each-ref", "--format=%(refname)", "refs/exps") or ""
    found = [first + rest for first, rest in FINISHED.findall(names)]
    for stash in STASHES:
        found += IN_STASH.findall(run_git(root, "log", "-g", "--format=%gs", stash, "--") or "")
    head = (run_git(root, "rev-parse", "HEAD") or "HEAD").strip()
    return list(dict.fromkeys([head, *found]))


def _show(root: Path, commits: list[str]) -> list[dict[str, Any]]:
    revisions = [argument for commit in commits for argument in ("--rev", commit)]
    message = {"shown": "dvc exp show", "remedy": "Run in a Git repository with a commit."}
    shown: list[dict[str, Any]] = json.loads(
        run_dvc(root, "exp", "show", "--json", *revisions, **message)
    )
    return shown


def _is_reproduced(root: Path, params: Mapping[str, Any]) -> bool:
    """Whether the last stage, which depends on all params, ran with these."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        return False
    stages = YAML(typ="safe").load(lock).get("stages") or {}
    recorded = stages.get(LAST_STAGE, {}).get("params", {}).get(PARAMS_FILE.as_posix())
    return bool(recorded == params)


def _params(shown: Mapping[str, Any]) -> dict[str, Any]:
    return _content(shown, "params", PARAMS_FILE.as_posix())


def _content(shown: Mapping[str, Any], kind: str, file: str) -> dict[str, Any]:
    """Return the content of a file of an experiment; empty if it cannot be read."""
    return dict(((shown["data"] or {}).get(kind, {}).get(file) or {}).get("data") or {})


def _experiment(
    name: str, shown: Mapping[str, Any], base: Mapping[str, Any], *, state: str
) -> Experiment:
    models = _content(shown, "metrics", "metrics/models.json") if _has_run(state) else {}
    stack = _content(shown, "metrics", "metrics/stack.json") if _has_run(state) else {}
    scores = {model: score for model in models if (score := _score(models[model])) is not None}
    best = max(scores, key=lambda model: scores[model], default=None)
    return Experiment(
        name,
        "failed" if shown.get("error") else state,
        _score(stack),
        (best, scores[best]) if best is not None else None,
        models[best].get("seeds") if best is not None else None,
        list(_changes(base, _params(shown))),
    )


def _has_run(state: str) -> bool:
    """Whether the metrics are of this experiment; otherwise DVC shows those of its commit."""
    return state in {"commit", "success"}


def _score(metrics: Mapping[str, Any]) -> float | None:
    return next((metrics[key] for key in SCORES if key in metrics), None)


def _changes(base: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the changes as `dvc exp run -S` takes them."""
    for key, before, after in differing_keys(base, params):
        if after is None and isinstance(before, Mapping):
            yield f"~{key}"
        elif before is None and isinstance(after, Mapping):
            yield f"+{key}"
        else:
            text = after if isinstance(after, str) else json.dumps(after, ensure_ascii=False)
            yield f"{key}={text}"
