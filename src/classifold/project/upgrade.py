"""Renew the files of a project that come from the package, after the package was upgraded."""

import re
from collections.abc import Iterator
from pathlib import Path

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.project.new_project import write_plots
from classifold.project.pipeline_file import (
    CODE,
    PIPELINE,
    hash_of_pipeline,
    hashes_of_code,
    make_pipeline,
)
from classifold.project.repository import REPOSITORY

NEW_PIPELINE = Path("dvc.yaml.new")  # beside a dvc.yaml that the user changed

# A section that params of earlier versions do not have.
NEW_SECTION = re.compile(r"^robustness:\n(?: .*\n)+", re.MULTILINE)


def upgrade(root: Path) -> Iterator[str]:
    """Renew `code/`, `dvc.yaml` and the templates of charts in a project.

    A missing section is added to `params.yaml`. A `dvc.yaml` that the user changed is kept; if the
    pipeline of the package changed, the new one is written beside it.

    Yields:
        A line per change.

    Raises:
        UserError: if the folder is a clone of the repository, which has its own code.
    """
    if not (root / CODE).is_dir():
        raise UserError(
            f"{CODE}: no such folder, so this is no project of 'classifold init'. Run in one; a "
            "clone of Classifold is upgraded by 'git pull'."
        )
    hashes = hashes_of_code()
    made = CODE / f"{PIPELINE}.txt"  # of the pipeline that the package had at the last upgrade
    yield from _add_section(root / PARAMS_FILE)
    yield from _renew_pipeline(root, root / made)
    for path in sorted((root / CODE).rglob("*.txt")):
        if path.relative_to(root) not in hashes:
            path.unlink()
            yield f"{path.relative_to(root)}: removed, the package has no such code"
    for path, text in hashes.items():
        file = root / path
        before = file.read_text(encoding="utf-8") if file.is_file() else None
        if before != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
            if path != made:
                yield f"{path}: {'new' if before is None else 'changed'}"
    write_plots(root)


def _add_section(params: Path) -> Iterator[str]:
    """Add the section that is new, as recipes have it."""
    text = params.read_text(encoding="utf-8")
    section = NEW_SECTION.search((REPOSITORY / "recipes/fruit_64.yaml").read_text(encoding="utf-8"))
    if section and not NEW_SECTION.search(text):
        added = f"{text.rstrip()}\n\n{section.group()}"
        params.write_text(added, encoding="utf-8", newline="\n")
        yield f"{PARAMS_FILE}: section {section.group().partition(':')[0]} added"


def _renew_pipeline(root: Path, made: Path) -> Iterator[str]:
    """Write the new `dvc.yaml`, or a file beside the user's; describe what changed, if anything."""
    text = make_pipeline()
    before = (root / PIPELINE).read_text(encoding="utf-8")
    last = made.read_text(encoding="utf-8") if made.is_file() else ""
    if before == text or last == hash_of_pipeline(text):
        return
    if last == hash_of_pipeline(before):
        (root / PIPELINE).write_text(text, encoding="utf-8", newline="\n")
        yield f"{PIPELINE}: changed"
        return
    (root / NEW_PIPELINE).write_text(text, encoding="utf-8", newline="\n")
    yield (
        f"{PIPELINE}: kept, since you changed it; {NEW_PIPELINE} is the new one of the package. "
        "Merge what you need, and delete it."
    )
