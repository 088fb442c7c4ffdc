"""The promises of README and SECURITY, and the tests that hold them: `python tests/promises.py`.

`promises.toml` quotes them, tests name them by the marker `promise`, and docs/PROMISES.md is made.
"""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/PROMISES.md"
PAGES = ("README", "SECURITY")
HEAD = """\
# Promises and their tests

Which tests hold each promise of the README and of [SECURITY](../SECURITY.md).
`pytest -m promise` runs these tests; their names say what they show. `tests/test_promises.py` fails
if a promise has no test, or if a sentence of the two pages is neither a promise nor listed as none:
[CONTRIBUTING](../CONTRIBUTING.md#add-a-promise).
"""


class Promises(NamedTuple):
    """The content of `promises.toml`."""

    promises: dict[str, str]  # key -> a sentence or a part of one
    measured: dict[str, str]  # key, of a promise that no test can hold -> what measures it
    no_promise: list[str]  # beginnings of other sentences


def read_promises() -> Promises:
    """Read `promises.toml`; a line break becomes a space."""
    content = tomllib.loads((ROOT / "tests/promises.toml").read_text(encoding="utf-8"))
    texts = {key: " ".join(text.split()) for key, text in content["promises"].items()}
    return Promises(texts, content["measured"], content["no_promise"]["beginnings"])


def sentences(page: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, sentence or row of a table) of a page, without links and bold type."""
    heading, row, inside = "", [], ""
    text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        match token.type:
            case "heading_open" | "thead_open" | "td_open":
                inside = token.type
            case "heading_close" | "thead_close" | "td_close":
                inside = ""
            case "tr_open":
                row = []
            case "tr_close" if not inside:
                yield heading, ": ".join(row)
            case "inline":
                line = "".join(map(plain, token.children))
                if inside == "heading_open":
                    heading = line
                elif inside == "td_open":
                    row.append(line)
                elif not inside and line:  # a picture has no text
                    yield from ((heading, sentence) for sentence in re.split(r"(?<=\.) ", line))


def plain(token) -> str:
    """The text of a token, such as a word in bold."""
    match token.type:
        case "code_inline":
            return f"`{token.content}`"
        case "softbreak":
            return " "
    return token.content if token.type == "text" else ""


def find_tests() -> dict[str, dict[str, list[str]]]:
    """Find the tests with a marker of each promise: key -> file -> what its tests show."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            for call in getattr(node, "decorator_list", []):
                if ast.unparse(call).startswith("pytest.mark.promise("):
                    shown = node.name.removeprefix("test_").replace("_", " ")
                    for key in call.args:
                        found[key.value][file.name].append(shown)
    return found


def make_page() -> str:
    """Make docs/PROMISES.md."""
    promises, measured, _ = read_promises()
    tests = find_tests()
    lines, last = [HEAD.rstrip()], ""
    for page in PAGES:
        for heading, sentence in sentences(page):
            for key in [key for key, promise in promises.items() if promise in sentence]:
                title = f"## {page}: {heading}" if heading != page.title() else f"## {page}"
                if title != last:
                    lines += ["", title, "", "| promise | tests |", "|---|---|"]
                    last = title
                holders = [f"`{file}`: {'; '.join(tests[key][file])}" for file in tests[key]]
                holders += [f"measured by {measured[key]}"] if key in measured else []
                lines.append(f"| {promises[key]} | {'. '.join(holders)}. |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
