"""Recipes: whole params files, for published systems and our own, that replace params.yaml."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from classifold.errors import UserError, describe_choices
from classifold.params.differences import differing_keys
from classifold.params.reader import PARAMS_FILE, read_mapping
from classifold.params.validation import check_params
from classifold.project.prerequisites import EMBEDDED
from classifold.project.repository import REPOSITORY
from classifold.reporting.git import run_git
from classifold.runtime.atomic_files import new_file

RECIPES = Path("recipes")

# The line of a recipe that sets no limit, and whose comment is the limit of the short form.
LIMIT = re.compile(
    r"^limit: \{images_per_class: null, epochs: null\}  # short form: (\{.+\})$", re.MULTILINE
)

# The section `dataset` of a file of params, with its comments.
DATASET = re.compile(r"^dataset:.*\n(?:[ #].*\n)*", re.MULTILINE)


def list_recipes(root: Path) -> dict[str, str]:
    """Name -> title (the first line) of each recipe.

    They are those of the project's folder `recipes/`, or else those that the package brings.
    """
    files = sorted(_recipes_of(root).glob("*.yaml"))
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[0][2:] for path in files}


def _recipes_of(root: Path) -> Path:
    own = root / RECIPES
    return own if own.is_dir() else REPOSITORY / RECIPES


def apply_recipe(name: str, *, short: bool, force: bool, root: Path) -> list[str]:
    """Write a recipe to `params.yaml` of the project in `root`, as it is or in its short form.

    Where `dataset.path` of `params.yaml` is not the embedded data set, and either no recipe names
    it or it exists or DVC tracks it, it names the user's own images, and the section `dataset` is
    kept.

    Args:
        name: name of a file in `recipes/`.
        short: whether to write the limit of its short form.
        force: whether to overwrite changes that are not committed.
        root: root folder of the project.

    Returns:
        The changes, a line per key.

    Raises:
        UserError: if there is no such recipe, it is invalid, or changes would be lost.
    """
    text = read_recipe(name, short=short, root=root)
    params = root / PARAMS_FILE
    if not force:
        _require_committed(params, root)
    try:
        before = check_params(params)
    except UserError:  # missing or invalid: everything is new
        before = {}
    changes = []
    if before and _has_own_images(before, root):
        text = _with_dataset_of(text, params.read_text(encoding="utf-8"))
        kept = before["dataset"]
        changes.append(f"dataset: kept, with path {kept['path']} and task {kept['task']}")
    with new_file(params) as partial:
        partial.write_text(text, encoding="utf-8")
        after = check_params(partial)
    return [*changes, *describe_changes(before, after)]


def read_recipe(name: str, *, short: bool, root: Path) -> str:
    """Read the text of a recipe, as it is or with the limit of its short form.

    Raises:
        UserError: if there is no such recipe, or it has no short form.
    """
    known = list_recipes(root)
    if name not in known:
        raise UserError(f"{RECIPES}: there is no recipe '{name}'. {describe_choices(name, known)}")
    path = _recipes_of(root) / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    if not short:
        return text
    if not LIMIT.search(text):
        raise UserError(
            f"{RECIPES / path.name}: there is no short form. Write its limit as 'limit: "
            "{images_per_class: null, epochs: null}  # short form: {images_per_class: 60, "
            "epochs: 2}'."
        )
    return LIMIT.sub(r"limit: \1", text)


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Describe the differences of two contents of `params.yaml`, a line per dotted key."""
    for key, old, new in differing_keys(before, after):
        if old is None and isinstance(new, Mapping):
            yield f"{key}: added"
        elif new is None and isinstance(old, Mapping):
            yield f"{key}: removed"
        else:
            yield f"{key}: {_format(old)} -> {_format(new)}"


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _has_own_images(content: Mapping[str, Any], root: Path) -> bool:
    path = content["dataset"]["path"]
    if path == str(EMBEDDED):
        return False
    if (root / path).exists() or (root / f"{path}.dvc").is_file():
        return True
    recipes = (read_mapping(_recipes_of(root) / f"{name}.yaml") for name in list_recipes(root))
    return path not in [dict(recipe.get("dataset") or {}).get("path") for recipe in recipes]


def _with_dataset_of(text: str, other: str) -> str:
    """Replace the section `dataset` of a text by that of another one."""
    kept = DATASET.search(other)
    return DATASET.sub(lambda _: kept[0], text) if kept else text


def _require_committed(params: Path, root: Path) -> None:
    """Refuse to overwrite a `params.yaml` that is neither committed nor a recipe for some data."""
    if not params.is_file():
        return
    text = params.read_text(encoding="utf-8")
    originals = [run_git(root, "show", f"HEAD:./{PARAMS_FILE}") or ""]
    for name in list_recipes(root):
        recipe = read_recipe(name, short=False, root=root)
        originals += [recipe, LIMIT.sub(r"limit: \1", recipe)]
    if text not in [_with_dataset_of(original, text) for original in originals]:
        raise UserError(
            f"{PARAMS_FILE}: has changes that are not committed and would be lost. Commit them, or "
            "overwrite them with --force (make: FORCE=1)."
        )
