"""Render Markdown with Jinja2; templates escape text from data by the filter `plain`."""

import html
import re
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from classifold.plain_text import plain_text
from classifold.reporting.environment import TEMPLATES
from classifold.reporting.formats import capitalize_first, count, decimal


def render_markdown(template: str, **values: Any) -> str:
    """Render a Markdown file; several blank lines become one.

    Args:
        template: name of a file in templates/, whose values from data pass through `plain`.
        values: for the template.
    """
    environment = Environment(  # noqa: S701 - Markdown: the filter `plain` escapes text from data
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (capitalize_first, count, decimal, plain)
    environment.filters |= {function.__name__: function for function in filters}
    return re.sub(r"\n{3,}", "\n\n", environment.get_template(template).render(**values))


def plain(text: str) -> str:
    """Escape text for one line of Markdown, including HTML in it."""
    line = plain_text(" ".join(text.split()))
    escaped = re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", html.escape(line, quote=False))
    # GitHub also turns bare addresses into links.
    return re.sub(r"(:)(?=//)|(?<=www)(\.)", r"\\\1\2", escaped, flags=re.IGNORECASE)
