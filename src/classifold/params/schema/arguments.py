"""Schemas of the arguments of networks, read from the signatures in their files."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import create_model

from classifold.params.schema.section import Section

NETWORKS = Path(__file__).parents[2] / "networks"

# Arguments of `build` that are no params: the pipeline sets the first one, and the training of a
# probe the others.
NOT_IN_PARAMS = ("image_size", "neighbors", "examples", "task")

# Annotations of arguments and their types in YAML; arguments with others are not checked.
ARGUMENT_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "float | None": float | None,
    "Sequence[int]": list[int],
    "Sequence[str]": list[str],
    "str | Mapping[str, str] | None": str | dict[str, str] | None,
}


@cache
def arguments_schema(network: str) -> type[Section]:
    """Create a schema of the keyword arguments of a network's `build`.

    The file is parsed and not imported, since importing PyTorch takes two seconds.

    Raises:
        ValueError: if the file has no function `build`.
    """
    file = NETWORKS / f"{network}.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            fields: dict[str, Any] = {
                argument.arg: (_type_of(argument), ... if default is None else None)
                for argument, default in zip(
                    node.args.kwonlyargs, node.args.kw_defaults, strict=True
                )
                if argument.arg not in NOT_IN_PARAMS
            }
            return create_model(network, __base__=Section, **fields)
    raise ValueError(f"{file.name} has no function build(n_classes, *, image_size, …)")


def _type_of(argument: ast.arg) -> Any:
    return ARGUMENT_TYPES.get(ast.unparse(argument.annotation), Any) if argument.annotation else Any
