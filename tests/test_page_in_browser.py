"""The report of each data set in a browser: charts, console, network access, accessibility."""

import shutil
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from ruamel.yaml import YAML

from stages_in_one_process import run_stages, stages_of
from synthetic_clone import shorten_analyses

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data"
LARGEST_PAGE = 20e6  # bytes

# Data set -> its task, and the pixels that images are stored in.
DATA_SETS = {
    "digits": ("single", 32),
    "fruit": ("single", 64),
    "photos": ("multi", 64),
    "tiny-imagenet-40": ("single", 64),
}
SCREENS = {"light": {"width": 1280, "height": 900}, "dark": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A function from the name of a data set to its page, which the stages write once."""
    paths = {}

    def page_of(name):
        if name not in paths:
            paths[name] = _make_page(name, tmp_path_factory.mktemp(name))
        return paths[name]

    return page_of


def _make_page(name, root):
    task, size = DATA_SETS[name]
    archive = (ROOT / "data/raw" if name == "digits" else REAL) / f"{name}.zip"
    if not archive.is_file():
        pytest.skip(f"the real images of {archive.name} are not next to the project")
    shutil.copytree(ROOT / "stages", root / "stages")
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["dataset"] |= {"path": str(archive), "layout": "auto", "task": task}
    params["limit"]["images_per_class"] = 60
    params["augment"] |= {"size": size, "flips": ["none"], "warped": 0}
    loss = "cross_entropy" if task == "single" else "binary_cross_entropy"
    resnet = dict(params["models"]["small_resnet"])
    for model in (mlp := dict(params["models"]["mlp"]), resnet):
        (phase,) = model["phases"].values()
        model["loss"] = {"name": loss}
        model["phases"] = {"p1": {**phase, "epochs": 1, "schedule": {"name": "constant"}}}
    resnet |= {"image_size": 32, "arguments": {"widths": [8, 16], "depth": 1, "stem_stride": 2}}
    params["models"] = {"mlp": mlp, "resnet": resnet}
    shorten_analyses(params)
    params["tsne"] |= {"images_per_class": 30, "perplexities": [5, 20]}
    params["explain"] |= {"model": "resnet", "images": 6, "smooth_samples": 4}
    params["pca"]["size"] = 16
    yaml.dump(params, root / "params.yaml")
    run_stages(root, stages_of("mlp", "resnet"))
    return root / "reports" / "index.html"


@pytest.fixture(
    params=[(name, scheme) for name in DATA_SETS for scheme in SCREENS],
    ids="-".join,
    scope="module",
)
def opened(request, pages, browser, keep_screenshot):
    """The page of a data set, light on a desktop or dark on a phone, with messages and requests."""
    name, scheme = request.param
    context = browser.new_context(color_scheme=scheme, viewport=SCREENS[scheme], offline=True)
    page = context.new_page()
    page.set_default_timeout(120_000)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: messages.append(f"error: {error}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages(name).as_uri())
    # Images far below are loaded lazily and would be missing from the screenshot.
    page.evaluate("for (const one of document.images) one.loading = 'eager'")
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every((one) => one.childElementCount)"
    )
    yield page, messages, requests
    keep_screenshot(page, f"{name}-{scheme}")
    context.close()


@pytest.mark.promise("pages-offline")
def test_the_page_is_complete_and_requests_nothing(opened):
    page, messages, requests = opened
    charts = page.evaluate(
        """[...document.querySelectorAll("script[data-chart]")].map((source) => {
            const plot = document.getElementById(source.dataset.chart);
            const { width, height } = plot.querySelector(".main-svg").getBoundingClientRect();
            return [plot.id, plot.data.length, width, height];
        })"""
    )
    assert len(charts) >= 9
    assert all(traces and width > 200 and height > 90 for _, traces, width, height in charts)
    pictures = page.evaluate(
        """Promise.all([...document.images].filter((one) => one.src).map(
            (one) => one.decode().then(() => one.naturalWidth, () => 0)))"""
    )
    assert len(pictures) > 40 and all(pictures)
    # Nothing is wider than the screen.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_page_has_no_serious_accessibility_violation(opened):
    page, *_ = opened
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in {"serious", "critical"}]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in serious] == []


def test_the_page_stays_small(pages):
    for name in DATA_SETS:
        assert pages(name).stat().st_size < LARGEST_PAGE


def test_the_confusion_matrix_and_tables_can_be_sorted(pages, browser):
    page = browser.new_page()
    page.goto(pages("digits").as_uri())
    page.wait_for_selector("#confusion .main-svg")
    axes = "['x', 'y'].map((one) => document.getElementById('confusion').layout[`${one}axis`]"
    page.get_by_label("Order of classes").select_option("lowest recall first")
    page.wait_for_function(f"{axes}.categoryarray?.length === 10).every(Boolean)")
    columns, rows = page.evaluate(f"{axes}.categoryarray)")
    assert columns == rows and sorted(rows) == [str(i) for i in range(10)]

    table = page.get_by_role("region", name="Accuracy of every model").locator("table")
    head = table.get_by_role("columnheader").nth(1)
    values = """(table) => [...table.tBodies[0].rows]
        .map((row) => row.cells[1].dataset.value).filter(Boolean).map(Number)"""
    head.get_by_role("button").click()
    descending = table.evaluate(values)
    assert head.get_attribute("aria-sort") == "descending"
    assert descending == sorted(descending, reverse=True)
    head.get_by_role("button").click()
    assert table.evaluate(values) == descending[::-1]
    page.close()
