"""Whole params files for published systems and for our own, and how one is taken over."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.reporting.git import run_git
from classifold.runtime.atomic_files import new_file

RECIPES = Path("recipes")

# The line of a recipe that cuts nothing short, and says what its short form would.
LIMIT = re.compile(
    r"^limit: \{images_per_class: null, epochs: null\}  # short form: (\{.+\})$", re.MULTILINE
)

# Sections of named entries: one that only one file has is told by its name.
NAMED = ("models", "policies")


def list_recipes(root: Path) -> dict[str, str]:
    """Name -> title (the first line) of each recipe of the project in `root`."""
    files = sorted((root / RECIPES).glob("*.yaml"))
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[0][2:] for path in files}


def take_recipe(name: str, *, short: bool, force: bool, root: Path) -> list[str]:
    """Write a recipe to `params.yaml` of the project in `root`, as it stands or in its short form.

    Args:
        name: of a file in `recipes/`.
        short: whether to write the limit that the recipe names for its short form.
        force: whether to overwrite changes that Git does not hold.
        root: of the project.

    Returns:
        What changed, a line a key.

    Raises:
        UserError: if there is no such recipe, it breaks a rule, or changes would be lost.
    """
    text = read_recipe(name, short=short, root=root)
    params = root / PARAMS_FILE
    if not force:
        _refuse_to_lose(params, root)
    try:
        before = check_params(params)
    except UserError:  # none yet, or one that breaks rules: all is new
        before = {}
    with new_file(params) as partial:
        partial.write_text(text, encoding="utf-8")
        after = check_params(partial)
    return list(changes(before, after))


def read_recipe(name: str, *, short: bool, root: Path) -> str:
    """Read the text of a recipe, as it stands or with the limit of its short form.

    Raises:
        UserError: if there is no such recipe, or it names no short form.
    """
    known = list_recipes(root)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise UserError(
            f"there is no recipe '{name}' in {RECIPES}; {hint}there are: {', '.join(known)}"
        )
    path = root / RECIPES / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    if not short:
        return text
    if not LIMIT.search(text):
        raise UserError(
            f"{RECIPES / path.name} names no short form; write its limit as 'limit: "
            "{images_per_class: null, epochs: null}  # short form: {images_per_class: 60, "
            "epochs: 2}'"
        )
    return LIMIT.sub(r"limit: \1", text)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Tell where two contents of `params.yaml` differ, a line a key: dotted, old -> new."""
    old, new = dict(before), dict(after)
    for section in NAMED:
        gone, come = _leave_common(old, section, new), _leave_common(new, section, before)
        if gone:
            yield f"{section}, no more: {', '.join(gone)}"
        if come:
            yield f"{section}, new: {', '.join(come)}"
    old, new = dict(_leaves(old)), dict(_leaves(new))
    for key in dict.fromkeys([*old, *new]):
        if key not in old:
            yield f"{key}: {_told(new[key])}, new"
        elif key not in new:
            yield f"{key}: {_told(old[key])}, no more"
        elif old[key] != new[key]:
            yield f"{key}: {_told(old[key])} -> {_told(new[key])}"


def _leave_common(content: dict[str, Any], section: str, other: Mapping[str, Any]) -> list[str]:
    """Take the entries that `other` has not out of a section; returns their names."""
    entries, known = content.get(section) or {}, other.get(section) or {}
    content[section] = {name: entry for name, entry in entries.items() if name in known}
    return [name for name in entries if name not in known]


def _leaves(content: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{start}{name}.")
        else:
            yield f"{start}{name}", value


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _refuse_to_lose(params: Path, root: Path) -> None:
    """Refuse where `params.yaml` is neither as Git holds it nor a recipe."""
    if not params.is_file():
        return
    text = params.read_text(encoding="utf-8")
    for name in list_recipes(root):
        whole = read_recipe(name, short=False, root=root)
        if text in (whole, LIMIT.sub(r"limit: \1", whole)):
            return
    held = run_git(root, "ls-files", "--", PARAMS_FILE.name)
    changed = run_git(root, "status", "--porcelain", "--", PARAMS_FILE.name)
    if changed or not held:
        raise UserError(
            f"{PARAMS_FILE} has changes that Git does not hold, and they would be lost; commit it, "
            "or take the recipe with --force (make: FORCE=1)"
        )
