"""The page, its style and script, and the model card as a page."""

from functools import cache
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt

from classifold import reporting

PAGES = Path(__file__).parent / "pages"
REPORT_STYLE = Path(next(iter(reporting.__path__))) / "templates/style.css"

# Address -> type of its content; the style begins with that of the report.
ASSETS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
}


@cache
def read_asset(name: str) -> str:
    """Read a file of the page."""
    text = (PAGES / name).read_text(encoding="utf-8")
    return REPORT_STYLE.read_text(encoding="utf-8") + text if name == "page.css" else text


def card_page(markdown: str) -> str:
    """Render a model card; HTML in it is shown as text, and pictures are excluded."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    # The policy of the page allows no style in the place of a class.
    card = parser.render(markdown).replace('style="text-align:right"', 'class="number"')
    return _document("Model card", card)


def error_page(message: str) -> str:
    """Show why there is no page, as text."""
    return _document("Error", f"<h1>Error</h1>\n<p>{escape(message)}</p>\n")


def _document(title: str, content: str) -> str:
    page = read_asset("document.html").replace("<!-- title -->", title)
    return page.replace("<!-- content -->", content)
