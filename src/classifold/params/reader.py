"""Read the values of `params.yaml` exactly as DVC reads them.

The parser is ruamel.yaml, which DVC uses itself: it reads YAML 1.2, in which `5e-4` is a number,
`off` is a word and `010` is ten. A stage thus computes with the values that DVC shows and compares.
PyYAML reads YAML 1.1, in which they are text, `false` and eight. It is not used anywhere, so that
no value has two meanings.
"""

import itertools
import math
import re
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

# A file of params has some thousands of characters. Larger ones could exhaust time or memory.
MAX_BYTES = 2**18
MAX_EXPANDED_CHARACTERS = 2**20  # with every alias replaced by its content
MAX_DIGITS = 40
MAX_OPEN_BRACKETS = 400  # at once; the time of the parser grows with the cube of their number

MAX_MESSAGE_CHARACTERS = 500

# The parser's message for a key that is written twice also has hints for programmers.
DUPLICATE_KEY = re.compile(r'found duplicate key "(.*?)" with value', re.DOTALL)


def read_params(*keys: str, path: Path = PARAMS_FILE) -> Any:
    """Read the values at `keys` (dotted paths): one value, or a tuple for several keys.

    A stage reads exactly the keys that it declares in `dvc.yaml`; a test compares them.

    Raises:
        UserError: if the file cannot be read, or has no such key.
    """
    content = read_mapping(path)
    values = []
    for key in keys:
        value: Any = content
        for name in key.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UserError(f"{path}: no key {key}. Add it, or correct its name.")
            value = value[name]
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections, without validation.

    Raises:
        UserError: if the file cannot be read, is not YAML, or has no sections.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. Run in the folder of a project, or in one of its subfolders."
        )
    with path.open("rb") as file:
        encoded = file.read(MAX_BYTES + 1)
    if len(encoded) > MAX_BYTES:
        raise UserError(
            f"{path}: must have at most {MAX_BYTES:,} bytes, got more. Check that it is a file of "
            "parameters."
        )
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not valid YAML: byte {error.start + 1:,} is not UTF-8. Save it as UTF-8."
        ) from None
    content = parse_yaml(text, where=str(path))
    if not isinstance(content, dict):
        got = _shorten(repr(content))
        raise UserError(f"{path}: must have sections such as 'dataset:', got {got}.")
    return content


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML 1.2 as DVC does; duplicate keys are errors.

    Only plain values are created (text, numbers, lists, mappings), and aliases (`*name`) only as
    far as they fit into memory.

    Args:
        text: text of the file.
        where: the name of the file, for the message.

    Raises:
        UserError: if the text is not YAML, or would exhaust time or memory.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        if _open_brackets(text) > MAX_OPEN_BRACKETS:
            raise RecursionError
        return yaml.load(text)
    except RecursionError:
        reason = "its lists and mappings are nested too deeply"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = place + ", ".join(filter(None, (error.context, error.problem)))
        if duplicate := DUPLICATE_KEY.search(reason):
            reason = f"{place}{duplicate[1]}: written twice"
    except Exception as error:  # invalid dates, numbers and directives raise any exception
        reason = str(error) or type(error).__name__
    raise UserError(f"{where}: not valid YAML: {_shorten(reason)}. Correct it.") from None


def _open_brackets(text: str) -> int:
    """Count the brackets that are open at once, also those of quoted text."""
    changes = ((character in "[{") - (character in "]}") for character in text)
    return max(itertools.accumulate(changes), default=0)


def _shorten(text: str) -> str:
    """Put a text on one line of bounded length."""
    return textwrap.shorten(text, MAX_MESSAGE_CHARACTERS, placeholder=" …")


class _Constructor(SafeConstructor):
    """Constructs plain values after their number has been checked."""

    def construct_document(self, node: Node) -> Any:
        if _expanded_size(node, {}) > MAX_EXPANDED_CHARACTERS:
            raise ConstructorError(
                None,
                None,
                "its aliases (*name) expand to too many values, or contain themselves; replace "
                "them by their content",
                node.start_mark,
            )
        return super().construct_document(node)


def _expanded_size(node: Node, known: dict[Node, float]) -> float:
    """Count the characters without aliases; infinite if an alias contains itself."""
    if isinstance(node, ScalarNode):
        if str(node.tag).endswith(":int") and len(node.value) > MAX_DIGITS:
            raise ConstructorError(
                None, None, f"a number of {len(node.value):,} digits", node.start_mark
            )
        return len(node.value) + 1
    if node not in known:
        known[node] = math.inf  # until it has been counted
        children: list[Node] = []
        if isinstance(node, SequenceNode):
            children = node.value
        elif isinstance(node, MappingNode):
            children = [child for pair in node.value for child in pair]
        known[node] = 1 + sum(_expanded_size(child, known) for child in children)
    return known[node]
