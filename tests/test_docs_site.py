"""The site that `make docs` writes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as by `make docs`: a warning, such as a lost link, is an error."""
    folder = tmp_path_factory.mktemp("site")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (recipe,) = [line for line in makefile.splitlines() if line.startswith("\tsphinx-build")]
    arguments = recipe.replace("docs/_build/html", str(folder)).split()[1:]
    command = [sys.executable, "-m", "sphinx", *arguments, "-d", str(folder / ".doctrees")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.mark.slow
@pytest.mark.promise("site-offline")
def test_the_site_has_every_page_and_the_texts_of_the_code(site):
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in (site / "docs").glob("*.html")}
    api = (site / "docs/API.html").read_text(encoding="utf-8")
    assert "those of an image do not depend on the other images" in api  # a docstring
    assert "the most probable first" in api  # the comment of a field
    assert "Alias for field number" not in api
    assert "--abstain" in (site / "docs/CLI.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.promise("site-offline")
def test_pages_request_nothing_from_other_hosts(site, browser):
    page = browser.new_page()
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(error.message))
    for path in sorted(set(site.rglob("*.html")) - {site / "index.html"}):  # leads to docs/index
        page.goto(path.as_uri())
        page.wait_for_load_state()
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
    page.close()
    assert not errors
    assert {url.partition("://")[0] for url in requested} <= {"file", "data"}
