"""Render the HTML pages with Jinja2; every value from data is escaped."""

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from classifold.plain_text import plain_text
from classifold.reporting.formats import capitalize_first, count, decimal, duration, percent

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Render an HTML page, with the style sheet, the script and Plotly inside it.

    Args:
        template: name of a file in templates/.
        values: for the template.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    """Create the environment, which keeps templates that were compiled."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (capitalize_first, count, decimal, duration, percent)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {"asset": _read_asset, "plotly": _plotly}
    return environment


# These are files of this package and of Plotly; they hold nothing from data.
def _read_asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704


def _plotly() -> Markup:
    return Markup(get_plotlyjs())  # noqa: S704


def _plain(value: Any) -> Any:
    """Escape control characters in text; Jinja2 escapes the rest, except for markup."""
    return plain_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
