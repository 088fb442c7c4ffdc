"""Validation of `params.yaml` against its schema, whole, whenever any stage starts.

The schema checks and fills in nothing: a stage gets the values of the file. It mirrors the
signatures that the values are unpacked into.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from classifold.errors import UserError
from classifold.params.reader import MAX_MESSAGE_CHARACTERS, PARAMS_FILE, read_mapping
from classifold.params.schema.params import Params
from classifold.params.schema.section import Section
from classifold.plain_text import one_line


def check_params(path: Path = PARAMS_FILE, schema: type[Section] = Params) -> dict[str, Any]:
    """Read the whole file and check it against the schema.

    Args:
        path: of the file.
        schema: that of the pipeline, or a study's own.

    Returns:
        The file's content, as it stands there.

    Raises:
        UserError: if the file cannot be read or breaks a rule; all broken rules are named,
            each with the path of its key.
    """
    content = read_mapping(path)
    check_content(schema, content, path=path)
    return content


def check_content(schema: type[Section], content: Mapping[str, Any], *, path: Path) -> None:
    """Check what a file holds.

    Args:
        schema: that it must obey.
        content: of the file.
        path: of the file, for the message.

    Raises:
        UserError: if a rule is broken; all broken rules are named.
    """
    if lines := broken_rules(schema, content):
        raise UserError(
            f"{path} breaks {len(lines)} rule{'s' * (len(lines) > 1)}; correct it and run "
            "again:\n" + "\n".join(f"  {line}" for line in lines)
        )


def broken_rules(schema: type[BaseModel], content: Any) -> list[str]:
    """Name the rules of `schema` that `content` breaks, each as `key.path: what is wrong`."""
    try:
        schema.model_validate(content)
    except ValidationError as error:
        lines = (_line(problem, content) for problem in _problems(error))
        return [one_line(line, most=MAX_MESSAGE_CHARACTERS) for line in lines]
    return []


def _problems(error: ValidationError) -> Iterator[Any]:
    """All problems, those of a schema within the schema by their whole paths."""
    for problem in error.errors():
        inner = problem.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            for each in _problems(inner):
                yield {**each, "loc": (*problem["loc"], *each["loc"])}
        else:
            yield problem


def _line(problem: Any, content: Any) -> str:
    """One broken rule as `key.path: what is wrong`."""
    steps = []
    place = content
    for step in problem["loc"]:
        # The schema's choices (Adam or SGD) are steps too, but no keys of the file.
        in_mapping = isinstance(place, Mapping) and step in place
        in_list = isinstance(place, list) and isinstance(step, int) and step < len(place)
        if in_mapping or in_list:
            place = place[step]
        elif problem["type"] != "missing" or step != problem["loc"][-1]:
            continue
        steps.append(str(step))
    name = ".".join(steps)
    if not name and problem["type"] == "value_error":  # a rule between sections names its keys
        return str(problem["ctx"]["error"])
    name = name or "the whole file"

    match problem["type"]:
        case "missing":
            return f"{name}: is missing; add it"
        case "unknown_key":
            return f"{name}: {problem['msg']}"
        case "value_error":
            return f"{name}: {problem['ctx']['error']}"
        case "union_tag_not_found":
            return f"{name}: is missing its 'name'"
        case "union_tag_invalid":
            return (
                f"{name}.name: must be one of {problem['ctx']['expected_tags']}, "
                f"got '{problem['ctx']['tag']}'"
            )
    rule = re.sub(r"^Input should be", "must be", problem["msg"])
    rule = rule.replace("a valid dictionary", "a mapping").replace("a valid integer", "an integer")
    rule = rule.replace("a valid ", "a ")
    return f"{name}: {rule}, got {problem['input']!r}"
