"""Validation of the whole `params.yaml` against its schema, whenever a stage starts.

The schema has no defaults: a stage gets the values of the file. Where a key may be omitted, the
code that uses it has the default. Sections mirror the signatures of the functions that their values
are passed to.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from classifold.errors import UserError, closest_name
from classifold.params.reader import MAX_MESSAGE_CHARACTERS, PARAMS_FILE, read_mapping
from classifold.params.schema.params import Params
from classifold.params.schema.section import RULES, UNKNOWN_KEYS, Section
from classifold.plain_text import one_line

# The wording of pydantic -> ours.
WORDINGS = (
    (r"^\w+ should ", "must "),
    (r" after validation, not \d+$", ""),
    (r"greater than or equal to ", ">= "),
    (r"less than or equal to ", "<= "),
    (r"greater than ", "> "),
    (r"less than ", "< "),
    (r"a valid dictionary", "a mapping"),
    (r"a valid integer", "an integer"),
    (r"a valid ", "a "),
)

# Types of pydantic's errors of values that are no numbers, and the limits of its JSON schema.
NOT_A_NUMBER = {"int_type", "float_type", "int_from_float", "finite_number"}
OF_NO_LIST = NOT_A_NUMBER | {"literal_error"}
LIMITS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def check_params(path: Path = PARAMS_FILE, schema: type[Section] = Params) -> dict[str, Any]:
    """Read a file and validate it.

    Args:
        path: path of the file.
        schema: the schema of the pipeline, or that of a study.

    Returns:
        The values of the file, unchanged.

    Raises:
        UserError: if the file cannot be read or is not valid; the message has a line for each
            error.
    """
    content = read_mapping(path)
    check_content(schema, content, path=path)
    return content


def check_content(schema: type[Section], content: Mapping[str, Any], *, path: Path) -> None:
    """Validate the content of a file.

    Args:
        schema: schema of the file.
        content: content of the file.
        path: path of the file, for the message.

    Raises:
        UserError: if the content is not valid; the message has a line for each error.
    """
    if errors := validation_errors(schema, content):
        n = len(errors)
        lines = "\n".join(f"  {error}." for error in errors)
        raise UserError(f"{path}: {n} validation error{'s' * (n > 1)}\n{lines}")


def validation_errors(schema: type[BaseModel], content: Any) -> list[str]:
    """List all validation errors of `content`, a line with its key and value each."""
    lines: list[str] = []
    suggested: set[tuple[Any, ...]] = set()  # paths of keys that a misspelled key stands for
    while True:
        try:
            schema.model_validate(content)
        except ValidationError as error:
            problems = _of_meant_alternatives(list(_problems(error)), content)
        else:
            return lines
        with_unknown_keys = [problem for problem in problems if problem["type"] == UNKNOWN_KEYS]
        if not with_unknown_keys:
            return lines + [
                line
                for problem in problems
                if problem["type"] != "missing" or tuple(_keys(problem, content)) not in suggested
                for line in _lines(problem, content, schema)
            ]
        # pydantic validates a section no further if it has unknown keys: repeat without them.
        valid_keys = content
        for problem in with_unknown_keys:
            lines += _lines(problem, content, schema)
            path = _keys(problem, content)
            suggested |= {
                (*path, close)
                for key in problem["ctx"]["unknown"]
                if (close := closest_name(str(key), problem["ctx"]["known"]))
            }
            valid_keys = _without(valid_keys, path, problem["ctx"]["unknown"])
        content = valid_keys


def _problems(error: ValidationError) -> Iterator[Any]:
    """Yield all problems, those of a schema within the schema with their whole paths."""
    for problem in error.errors():
        inner = problem.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            for each in _problems(inner):
                yield {**each, "loc": (*problem["loc"], *each["loc"])}
        else:
            yield problem


def _of_meant_alternatives(problems: list[Any], content: Any) -> list[Any]:
    """Keep one problem of a value that may be a list or something else, such as `all` or a list.

    A list gets the problems of lists; another value gets one problem that names both alternatives.
    """
    kept = []
    for problem in problems:
        keys = _keys(problem, content)
        others = {
            other["type"]
            for other in problems
            if other is not problem and _keys(other, content)[: len(keys)] == keys
        }
        of_no_list = problem["type"] in OF_NO_LIST
        if isinstance(problem["input"], list):
            if of_no_list and others - OF_NO_LIST:
                continue
        elif problem["type"] == "list_type" and others & OF_NO_LIST:
            continue
        elif of_no_list and "list_type" in others:
            problem["alternative"] = " or a list"
        kept.append(problem)
    return kept


def _keys(problem: Any, content: Any) -> list[Any]:
    """Return the path of a problem in the content.

    The path of pydantic also names alternatives of the schema, such as the name of an optimizer.
    """
    keys = []
    place = content
    for step in problem["loc"]:
        in_mapping = isinstance(place, Mapping) and step in place
        in_list = isinstance(place, list) and isinstance(step, int) and step < len(place)
        if in_mapping or in_list:
            place = place[step]
        elif problem["type"] != "missing" or step != problem["loc"][-1]:
            continue
        keys.append(step)
    return keys


def _without(content: Any, path: list[Any], keys: list[Any]) -> Any:
    """Copy a content without some keys of the mapping at a path."""
    if not path:
        return {key: value for key, value in content.items() if key not in keys}
    copy = content.copy()
    copy[path[0]] = _without(content[path[0]], path[1:], keys)
    return copy


def _lines(problem: Any, content: Any, schema: type[BaseModel]) -> list[str]:
    """Format a problem as one line per error."""
    keys = _keys(problem, content)
    limits = _limits(schema, keys) if problem["type"] in NOT_A_NUMBER else ""
    return [
        one_line(line, max_characters=MAX_MESSAGE_CHARACTERS)
        for line in _errors(problem, ".".join(map(str, keys)), limits)
    ]


def _limits(schema: type[BaseModel], keys: list[Any]) -> str:
    """Format the limits of a number, such as ` >= 1 and <= 2048`; empty if it has none."""
    whole = _json_schema(schema)
    places = [whole]
    for key in [None, *keys]:
        if key is not None:
            places = [
                below
                for place in places
                for below in (
                    place.get("properties", {}).get(key),
                    place.get("additionalProperties"),
                    place.get("items"),
                )
                if isinstance(below, dict)
            ]
        for place in places:  # grows
            places += place.get("anyOf", []) + place.get("oneOf", [])
            if "$ref" in place:
                places.append(whole["$defs"][place["$ref"].rsplit("/", 1)[1]])
    found = {
        " and ".join(f"{sign} {place[limit]:g}" for limit, sign in LIMITS.items() if limit in place)
        for place in places
        if place.get("type") in {"integer", "number"}
    }
    return f" {found.pop()}" if len(found) == 1 and found != {""} else ""


@cache
def _json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    return schema.model_json_schema()


def _errors(problem: Any, name: str, limits: str) -> Iterator[str]:
    where = f"{name}: " if name else ""
    inside = f"{name}." if name else ""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            yield f"{where}missing. Add it"
        case str(kind) if kind == UNKNOWN_KEYS:
            known = context["known"]
            for key in context["unknown"]:
                close = closest_name(str(key), known)
                hint = f"Did you mean {close}? " if close else ""
                if type(key) in (int, float):  # YAML's flow style: {lr: 0,001}
                    hint = "If it is a part of a number, write decimals with a point. "
                yield f"{inside}{key}: unknown key. {hint}Known keys: {', '.join(known)}"
        case str(kind) if kind == RULES:
            for error in context["errors"]:
                yield f"{inside}{error}"
        case "value_error":
            yield f"{where}{context['error']}"
        case "union_tag_not_found":
            yield f"{inside}name: missing. Add it"
        case "union_tag_invalid":
            tags, tag = context["expected_tags"], context["tag"]
            yield f"{inside}name: must be one of {tags}, got {_format(tag)}"
        case _:
            rule = problem["msg"]
            for pydantic_wording, wording in WORDINGS:
                rule = re.sub(pydantic_wording, wording, rule)
            rule += limits + problem.get("alternative", "")
            yield f"{name or 'the whole file'}: {rule}, got {_format(problem['input'])}"


def _format(value: Any) -> str:
    """Format a value as in a YAML file."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
        return {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}.get(text, text)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
