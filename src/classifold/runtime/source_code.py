"""Find the source files that a module depends on, by its imports, and hash them."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]

# In a wheel: the stages and other files that a clone has beside `src/`.
IN_WHEEL = PACKAGE / "repository"

# Code that does not change any output: how a stage runs, the schema of params, error messages.
# The reader of params does, since it returns the values.
NO_DEPENDENCIES = ("errors.py", "runtime/", "params/")
DEPENDENCIES = ("params/reader.py",)

# Code of messages and commands; of all outputs, `plain_text.py` changes only the report.
MESSAGES = ("cli/", "plain_text.py")


def code_behind(file: Path) -> set[Path]:
    """Find a file and the modules of the package that it imports, directly or indirectly.

    Excluded are modules that do not change outputs (`NO_DEPENDENCIES`), and modules that are
    imported by name (networks).

    Args:
        file: a module of the package, or a script that imports some.
    """
    found: set[Path] = set()
    waiting = [file.resolve()]
    while waiting:
        current = waiting.pop()
        if current not in found and _changes_outputs(current):
            found.add(current)
            waiting += [file_of(module) for module in imports(current)]
    return found


def loaded_code() -> list[Path]:
    """List the files of the loaded modules that change results, such as weights, in order."""
    modules = (module for name, module in sys.modules.items() if name.startswith("classifold."))
    files = {Path(module.__file__).resolve() for module in modules if module.__file__}
    return sorted(
        file
        for file in files
        if _changes_outputs(file) and not file.relative_to(PACKAGE).as_posix().startswith(MESSAGES)
    )


@cache
def imports(file: Path) -> list[str]:
    """List the modules of the package that a file imports."""
    return [
        node.module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("classifold.")
    ]


def file_of(module: str) -> Path:
    """Return the file of a module such as `classifold.data.pack`."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def hash_of_sources() -> str:
    """Hash all source files of the package; equal in a clone and in an installed wheel."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.is_relative_to(IN_WHEEL):
            continue
        digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _changes_outputs(file: Path) -> bool:
    if not file.is_relative_to(PACKAGE):
        return True
    name = file.relative_to(PACKAGE).as_posix()
    return name in DEPENDENCIES or not name.startswith(NO_DEPENDENCIES)
