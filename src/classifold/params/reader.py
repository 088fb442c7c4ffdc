"""The values of `params.yaml`, read as DVC reads them."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from classifold.errors import UserError

PARAMS_FILE = Path("params.yaml")

# A file of params is some thousands of letters; a larger one was made to take time or memory.
MOST_BYTES = 2**18
MOST_LETTERS_WRITTEN_OUT = 2**20  # where every alias stands for all that it names
MOST_DIGITS = 40

MAX_MESSAGE_CHARACTERS = 500


def read_params(*keys: str, path: Path = PARAMS_FILE) -> Any:
    """Read the values at `keys` (dotted paths): one value, or a tuple for several keys.

    A stage reads exactly the keys that it declares in `dvc.yaml`; a test compares them.
    """
    content = read_mapping(path)
    values = []
    for key in keys:
        value: Any = content
        for name in key.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UserError(f"{path} has no '{key}'; add it, or correct the name")
            value = value[name]
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections, which nothing is checked of yet.

    Raises:
        UserError: if the file cannot be read, is no YAML, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"there is no {path} here; run from the folder that holds it")
    with path.open("rb") as file:
        encoded = file.read(MOST_BYTES + 1)
    if len(encoded) > MOST_BYTES:
        raise UserError(
            f"{path} is larger than {MOST_BYTES:,} bytes, the most that is read; is it a file of "
            "params?"
        )
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no valid YAML: byte {error.start + 1:,} is not of UTF-8; save it as UTF-8"
        ) from None
    content = parse_yaml(text, where=str(path))
    if not isinstance(content, dict):
        got = _shortened(repr(content))
        raise UserError(f"{path} must hold sections such as 'dataset:', got {got}")
    return content


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML 1.2 as DVC does: 5e-4 is a number, off is a word, no key may stand twice.

    Nothing but text, numbers, lists, mappings and the like is made, and of aliases (`*name`)
    no more than fits into memory.

    Args:
        text: of the file.
        where: what to call it in the message.

    Raises:
        UserError: if it is no YAML, or was made to take time or memory.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except RecursionError:
        reason = "its lists and mappings stand too deep in one another"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = place + ", ".join(filter(None, (error.context, error.problem)))
    except Exception as error:  # odd dates, numbers and directives lead the reader to anything
        reason = str(error) or type(error).__name__
    told = _shortened(reason)
    raise UserError(f"{where} is no valid YAML: {told}; correct it") from None


def _shortened(text: str) -> str:
    """Put a text on one line of bounded length."""
    return textwrap.shorten(text, MAX_MESSAGE_CHARACTERS, placeholder=" …")


class _Constructor(SafeConstructor):
    """Makes plain values, once it is known that they are not too many."""

    def construct_document(self, node: Node) -> Any:
        if _written_out(node, {}) > MOST_LETTERS_WRITTEN_OUT:
            raise ConstructorError(
                None,
                None,
                "its aliases (*name) stand for too much, or for what holds themselves; write "
                "out what they name",
                node.start_mark,
            )
        return super().construct_document(node)


def _written_out(node: Node, known: dict[Node, float]) -> float:
    """How many letters a document has without aliases; endless if one names what holds it."""
    if isinstance(node, ScalarNode):
        if str(node.tag).endswith(":int") and len(node.value) > MOST_DIGITS:
            raise ConstructorError(
                None, None, f"a number of {len(node.value):,} digits", node.start_mark
            )
        return len(node.value) + 1
    if node not in known:
        known[node] = math.inf  # until it is counted
        inside: list[Node] = []
        if isinstance(node, SequenceNode):
            inside = node.value
        elif isinstance(node, MappingNode):
            inside = [part for pair in node.value for part in pair]
        known[node] = 1 + sum(_written_out(part, known) for part in inside)
    return known[node]
