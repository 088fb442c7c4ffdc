"""The `dvc.yaml` of a project, and the hashes of the code of its stages.

Both are made from the repository's `dvc.yaml`: a stage of a project runs `classifold stage <name>`,
and depends on one file that holds the hash of its code. `classifold upgrade` renews these files, so
that DVC runs again exactly the stages whose code changed.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from classifold.errors import UserError
from classifold.params.reader import read_params
from classifold.project.repository import REPOSITORY, list_stages
from classifold.runtime.source_code import PACKAGE, code_behind

PIPELINE = Path("dvc.yaml")
CODE = Path("code")  # of a project; in Git
NETWORKS = "src/classifold/networks"
OWN_NETWORK = NETWORKS + "/${item.network}.py"

HEAD = """\
# Made by "classifold init" from the pipeline of the package. "classifold upgrade" writes a new one,
# unless you changed this file. The files in code/ have the hashes of the code of each stage.
"""

# Lines of the repository's dvc.yaml -> lines of a project's.
CHANGES = (
    (r"python stages/(\w+)\.py", r"classifold stage \1"),
    (r"python -m classifold\.params\b", "classifold check --params-only"),
    (r"- stages/(\w+)\.py", rf"- {CODE}/\1.txt"),
    (rf"- {re.escape(OWN_NETWORK)}", rf"- {CODE}/networks/${{item.network}}.txt"),
    (r"^ +- src/.*\n", ""),
)


def make_pipeline() -> str:
    """Make the text of the `dvc.yaml` of a project."""
    text = (REPOSITORY / PIPELINE).read_text(encoding="utf-8")
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return HEAD + text


def hashes_of_code() -> dict[Path, str]:
    """Path in a project -> content, of all files of `code/`.

    These are a file per stage and one per network, and the hash of `dvc.yaml` as it is made, which
    shows whether the user changed it.
    """
    stages = {CODE / f"{name}.txt": _hash(stage_code(name)) for name in list_stages()}
    networks = {
        CODE / f"networks/{file.stem}.txt": _hash(code_behind(file))
        for file in (PACKAGE / "networks").glob("[a-z]*.py")
    }
    return stages | networks | {CODE / "dvc.yaml.txt": hash_of_pipeline(make_pipeline())}


def hash_of_pipeline(text: str) -> str:
    """Hash a `dvc.yaml`, as a line of text."""
    return hashlib.sha256(text.encode()).hexdigest() + "\n"


def stage_code(stage: str) -> set[Path]:
    """Find the files of the package that a stage depends on.

    Of the code that the repository's `dvc.yaml` declares, these are the modules that the stage
    imports, and files that are no modules, such as templates. Networks are loaded by name.
    """
    declared = [_file_of(dep) for dep in _stages()[stage]["deps"] if dep.startswith("src/")]
    imported = code_behind(list_stages()[stage])
    networks = PACKAGE / "networks"
    if networks in declared:
        imported = imported.union(*map(code_behind, networks.glob("[a-z]*.py")))
    found = (file for path in declared for file in _files(path) if file.suffix != ".py")
    return imported | set(found)


def check_code(stage: str, item: str | None) -> None:
    """Check that `code/` has the hashes of the code that a stage is about to run.

    Otherwise DVC would store its outputs as those of other code.

    Raises:
        UserError: if it does not; not in a clone of the repository, which has no such folder.
    """
    if not CODE.is_dir():
        return
    expected = {CODE / f"{stage}.txt": stage_code(stage)}
    if item is not None:
        network = read_params(f"models.{item}.network")
        file = PACKAGE / f"networks/{network}.py"
        if file.is_file():
            expected[CODE / f"networks/{network}.txt"] = code_behind(file)
    for path, code in expected.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != _hash(code):
            raise UserError(
                f"{path}: must have the hash of the installed code of Classifold, got another one. "
                "Run 'classifold upgrade', and then 'dvc repro'."
            )


@cache
def _stages() -> dict[str, Any]:
    content = YAML(typ="safe").load((REPOSITORY / PIPELINE).read_text(encoding="utf-8"))
    return {name: stage.get("do", stage) for name, stage in content["stages"].items()}


def _file_of(dep: str) -> Path:
    """Find a file or folder of code by its name in the repository."""
    return PACKAGE.parent / dep.removeprefix("src/")


def _files(path: Path) -> Iterator[Path]:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and file.suffix != ".pyc":
            yield file


def _hash(files: set[Path]) -> str:
    """Hash names and contents of code, which are the same in a clone and in a wheel."""
    digest = hashlib.sha256()
    for name, file in sorted((_name_of(file), file) for file in files):
        digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest() + "\n"


def _name_of(file: Path) -> str:
    scripts = REPOSITORY / "stages"
    if file.is_relative_to(scripts):
        return f"stages/{file.name}"
    return file.relative_to(PACKAGE).as_posix()
