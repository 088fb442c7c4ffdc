"""The site of documents: `make docs` writes it to docs/_build/html, without a network.

Pages are plain Markdown, which GitHub shows, too. The source folder is that of the repository, so
that links between pages are the same in both places.
"""

import importlib
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import typer
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

from classifold.cli.app import app as commands

ROOT = Path(__file__).parents[1]
INDEX = "docs/index"

project = "Classifold"
author = "the authors of Classifold"
release = metadata.version("classifold")

root_doc = INDEX
include_patterns = ["docs/*.md", "*.md"]
exclude_patterns = [
    "README.md",  # for visitors of the repository; docs/index.md is for those of the site
    *(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs"),
]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_heading_anchors = 4  # those that GitHub makes
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!classifold).*")]  # of other packages, whose sites are remote

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
add_module_names = False
default_role = "code"  # docstrings have single backticks, as in Markdown

copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

html_theme = "furo"
html_title = "Classifold"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {  # the colors of the report
    "light_css_variables": {
        "color-brand-primary": "#0064a0",
        "color-brand-content": "#0064a0",
        "code-font-size": "75%",
    },
    "dark_css_variables": {"color-brand-primary": "#6cc0f5", "color-brand-content": "#6cc0f5"},
}
html_copy_source = False
html_show_copyright = False
html_additional_pages = {"index": "forward.html"}  # the root page is docs/index.html
templates_path = ["_templates"]


def setup(app: Sphinx) -> None:
    """Add what pages do not repeat: the sidebar, the help of commands, comments of fields."""
    app.connect("source-read", complete_page)
    app.connect("autodoc-process-docstring", describe_field)


def complete_page(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the sidebar to the index, and the commands to the page of the command line."""
    if page == INDEX:
        source[0] += sidebar(source[0])
    elif page == "docs/CLI":
        source[0] += help_of_commands()


def sidebar(index: str) -> str:
    """Make a hidden table of contents of each section's list of pages."""
    sections = re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", index, flags=re.MULTILINE)
    return "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
        + "".join(f"{title} <{page}>\n" for title, page in pages)
        + "```\n"
        for caption, text in sections
        if (pages := re.findall(r"^- \[(.+)\]\((.+)\.md\)", text, flags=re.MULTILINE))
    )


def help_of_commands() -> str:
    """Make a section of each command's help."""
    command = cast(typer.core.TyperGroup, typer.main.get_command(commands))
    return "".join(
        "#" + get_docs_for_click(obj=one, ctx=typer.Context(one), name=f"classifold {name}")
        for name, one in command.commands.items()
        if not one.hidden
    )


def describe_field(
    _app: Sphinx, _kind: str, name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """Describe a field of a named tuple by the comment behind it."""
    if lines and lines[0].startswith("Alias for field number"):
        module, owner, field = name.rsplit(".", 2)
        source = inspect.getsource(getattr(importlib.import_module(module), owner))
        comment = re.search(rf"^    {field}: [^#\n]*(?:# (.+))?$", source, flags=re.MULTILINE)
        lines[:] = [(comment and comment[1]) or "", ""]
