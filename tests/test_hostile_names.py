"""Classes and files of hostile names go through every stage, and come out as text everywhere."""

import csv
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from ruamel.yaml import YAML

from classifold.data.csv_file import FORMULA, TAG, read_rows
from classifold.data.json_file import read_json
from classifold.plain_text import plain_text
from classifold.project.plots_page import write_plots_page
from forked_python import forked_tools
from stages_in_one_process import run_stages, stages_of
from synthetic_clone import shorten_analyses

pytestmark = pytest.mark.dvc

ROOT = Path(__file__).parents[1]
CLASSES = (
    "=cmd()",
    "<script>alert(1)</script>",
    "</script></template><img src=x onerror=alert(2)>",
    '"; touch pwned; $(touch pwned) `touch pwned`',
    "@SUM(A1)\n\r-2+3",
    "'quoted', \\ and ${HOME} {{ 7 * 7 }}",
    "_\x1b[31m red \u202e desrever",
    "[link](http://evil.example) ![x](y) www.evil.example $x$",
    "犬 \u2028 --",
)
N_IMAGES = 16  # of each class
# Predictions for images, in the same process.
PREDICT = """
from classifold.cli.app import app
app(["predict", "images", "--out", "predictions.csv"])
"""


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A project whose classes and files have such names, run to its end, and what it printed."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "stages").symlink_to(ROOT / "stages")
    images = root / "images"
    images.mkdir()
    random = np.random.default_rng(1)
    rows = []
    for number, name in enumerate(CLASSES):
        for i in range(N_IMAGES):
            pixels = random.integers(0, 90, (16, 16, 3), np.uint8)
            pixels[number : number + 8] += 150
            file = f"{'=-+@'[i % 4]}<b>{i} {number}\u202e.png"
            Image.fromarray(pixels).save(images / file)
            rows.append((file, name, f"=group {number} {i // 2}"))
    (images / "<i>\x1b[31m.png").write_bytes(b"no image")
    with (images / "t.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("path", "label", "group"), *rows])
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["dataset"] = {"path": "images", "layout": "table", "task": "single"}
    params["ingest"]["max_unreadable"]["fraction"] = 1.0
    params["filter"]["duplicates"] |= {"near": "group"}
    params["augment"] |= {"size": 16, "warped": 1}
    mlp = params["models"]["mlp"]
    mlp["phases"]["p1"]["epochs"] = 2
    params["models"] = {"mlp": mlp}
    params["stack"]["folds"] = 2
    shorten_analyses(params)
    params["explain"] |= {"model": "mlp", "images": 4}
    params["tsne"] |= {"classes": 8, "images_per_class": 6}
    yaml.dump(params, root / "params.yaml")
    return root, run_stages(root, stages_of("mlp"), then=PREDICT)


def test_every_class_is_shown_by_its_name(run):
    root, _ = run
    counted = read_json(root / "metrics/ingest.json")["images_per_class"]
    assert counted == dict.fromkeys(sorted(name.strip() for name in CLASSES), N_IMAGES)
    for file, column in (("evaluated/per_class", "class"), ("split/train", "label")):
        assert {row[column] for row in read_rows(root / f"data/{file}.csv")} == set(counted)


@pytest.mark.promise("no-command", "escaped-terminal")
def test_nothing_was_run_and_no_terminal_commanded(run):
    root, output = run
    assert not list(root.rglob("pwned"))
    assert plain_text(output) == output
    assert "Glyph" not in output


@pytest.mark.promise("every-csv")
def test_no_cell_of_any_table_is_a_formula(run):
    root, _ = run
    tables = [path for path in root.rglob("*.csv") if path.parent.name != "images"]
    names = {path.name for path in tables}
    assert {"unreadable.csv", "train.csv", "label_errors.csv", "predictions.csv"} <= names
    hostile = 0
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        numbers = [cell for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)]
        for cell in set(cells) - set(numbers):
            assert cell.startswith("'") or not FORMULA.match(cell), (path, cell)
        hostile += sum(cell.startswith("'=") for cell in cells)
    assert hostile > N_IMAGES


@pytest.mark.promise("escaped-pages", "escaped-terminal")
def test_the_page_has_no_element_of_a_names_making(run):
    root, _ = run
    text = (root / "reports/index.html").read_text(encoding="utf-8")
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"i", "iframe", "object", "embed", "form", "input", "base"}
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)|u003cscript>alert\(1\)", "", text)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert attributes.get("href", "#").startswith(("#", "data:"))
    assert not set("\u202e\x1b\u2028") & set(text)
    words = " ".join(page.words)
    for name in ("=cmd()", "<script>alert(1)</script>", "${HOME} {{ 7 * 7 }}", r"_\x1b[31m red"):
        assert name in words


@pytest.mark.promise("escaped-card", "escaped-terminal")
def test_the_model_card_has_no_markup_of_a_names_making(run):
    root, _ = run
    card = (root / "reports/MODEL_CARD.md").read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(card)
    every = [each for token in tokens for each in [token, *(token.children or [])]]
    assert not [each for each in every if each.type in {"html_block", "html_inline", "image"}]
    links = [each.attrs["href"] for each in every if each.type == "link_open"]
    assert links == ["index.html"]
    shown = "".join(each.content for each in every if each.type in {"text", "text_special"})
    assert "<script>alert(1)</script>" in shown
    assert "[link](http://evil.example) ![x](y) www.evil.example $x$" in shown
    assert not re.search(r"(?<!\\):(?=//)|www\.", card)  # of which GitHub makes links
    assert not set("\u202e\x1b\u2028\r") & set(card)


@pytest.fixture(scope="module")
def plots(run):
    """The page of `dvc plots` for that run."""
    root, _ = run
    shutil.copy(ROOT / "dvc.yaml", root)
    shutil.copytree(ROOT / ".dvc/plots", root / ".dvc/plots")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc")
    write_plots_page(root / ".dvc/plots_page.html")
    for command in ("git init -q", f"{forked_tools()}/dvc plots show -o shown"):
        subprocess.run(command.split(), cwd=root, check=True, capture_output=True)
    return root / "shown/index.html"


@pytest.mark.promise("escaped-plotted")
def test_what_dvc_plots_reads_begins_no_tag(run):
    root, _ = run
    hostile = 0
    for path in plotted_files():
        text = (root / path).read_text(encoding="utf-8")
        assert not TAG.search(text), path
        hostile += r"\u003cscript" in text
    assert hostile >= 4  # the class is in the balance, the proportions, the matrix and the map


def plotted_files():
    """The CSV files that `dvc.yaml` plots."""
    plots = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["plots"]
    settings = [each for plot in plots if isinstance(plot, dict) for each in plot.values()]
    return sorted({file for setting in settings for file in setting["y"]})


@pytest.mark.browser
@pytest.mark.promise("apostrophes-removed")
def test_the_page_of_plots_shows_names_and_runs_nothing(plots, browser):
    text = plots.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    page = browser.new_page()
    messages = []
    page.on("console", lambda message: message.type == "error" and messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.goto(plots.as_uri())
    page.wait_for_selector("body[data-drawn]")
    assert messages == []
    words = page.locator(".vega-embed svg.marks text").all_text_contents()
    assert "=cmd()" in words and not [word for word in words if word.startswith("'=")]
    charts = page.locator(".vega-embed svg.marks")
    assert charts.count() == text.count("vegaEmbed('#") > 5
    pictures = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(pictures) >= 4 and all(pictures)
    page.close()


@pytest.mark.browser
@pytest.mark.promise("plots-page")
def test_the_page_of_plots_runs_nothing_of_a_name_that_was_not_escaped(plots, browser):
    """A branch's name is inserted by DVC alone, and so is a table of other programs."""
    text = plots.read_text(encoding="utf-8")
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    spoilt = text.replace("<p>workspace</p>", f"<p>{evil}</p>")
    spoilt = spoilt.replace(r"\\u003cscript>", f"</script></template>{evil}")
    assert spoilt.count(evil) > 5
    plots.with_name("spoilt.html").write_text(spoilt, encoding="utf-8")
    page = browser.new_page()
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message) or dialog.dismiss())
    page.goto(plots.with_name("spoilt.html").as_uri())
    page.wait_for_selector("body[data-drawn]")
    assert dialogs == []
    page.close()
