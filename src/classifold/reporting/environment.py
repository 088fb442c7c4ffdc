"""How pages are written: every value escaped, and none that commands the browser or the line."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from classifold.plain_text import plain_text

HERE = Path(__file__).parent


def page_environment() -> Environment:
    """Jinja2's environment of all HTML pages."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inlined(name: str) -> Markup:
    """A style or script of ours, which goes into the page as it is."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704 - ours, not from data


def _plain(value: Any) -> Any:
    """What Jinja2 shows; it escapes the result, but for markup of our own templates."""
    return plain_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value
