"""The source files behind a module, found by its imports."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Code that changes no byte of any output: how a stage runs, what may be in params, error messages.
# The reader of params gives a stage its values, so it is not among them.
NO_DEPENDENCIES = ("errors.py", "runtime/", "params/")
DEPENDENCIES = ("params/reader.py",)


def code_behind(file: Path) -> set[Path]:
    """Find the modules of the package that a file needs, directly or not, and the file itself.

    Left out is what changes no output (`NO_DEPENDENCIES`). Modules loaded by name (networks)
    are not found.

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


@cache
def imports(file: Path) -> list[str]:
    """Name the modules of the package that a file imports."""
    return [
        node.module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("classifold.")
    ]


def file_of(module: str) -> Path:
    """Find the file of a module such as `classifold.data.pack`."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _changes_outputs(file: Path) -> bool:
    if not file.is_relative_to(PACKAGE):
        return True
    name = file.relative_to(PACKAGE).as_posix()
    return name in DEPENDENCIES or not name.startswith(NO_DEPENDENCIES)
