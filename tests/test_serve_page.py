"""The page of `classifold serve` in a browser: keyboard, drop, paste, hostile names, axe."""

import threading
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe

from classifold.data.csv_file import read_rows
from classifold.serving.predict import Classifier
from classifold.serving.web.app import make_app
from classifold.serving.web.server import address_of, bind

pytestmark = pytest.mark.browser

SCREENS = {"light": {"width": 1280, "height": 900}, "dark": {"width": 390, "height": 844}}
HOSTILE = "<img src=x onerror=alert(1)>.png"

PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"

# Files given to the page as the system would: (type of the event, key of its files).
GIVE = """([type, key, name, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
    const Kind = type === "paste" ? ClipboardEvent : DragEvent;
    document.body.dispatchEvent(new Kind(type, { [key]: files, bubbles: true }));
}"""


@pytest.fixture
def address(project, keep_training_images):
    """The address of a server that runs in a thread; every image is unlike those of training."""
    root = project()
    keep_training_images(root, threshold=0.0)
    (root / "reports").mkdir()
    (root / "reports/MODEL_CARD.md").write_text("# Card\n")
    with bind("127.0.0.1", 0) as listener:
        app = make_app(Classifier.load(root), root=root)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield address_of(listener)
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("scheme", SCREENS)
@pytest.mark.promise("serve-alone")
def test_the_page_classifies_images_and_explains_them(
    address, browser, odd_images, keep_screenshot, scheme
):
    context = browser.new_context(color_scheme=scheme, viewport=SCREENS[scheme])
    page = context.new_page()
    page.set_default_timeout(120_000)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.get_by_text("The stack of flat, deep · 3 classes").wait_for()

    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": odd_images["cat/photo.jpg"]}
    with page.expect_file_chooser() as chooser:
        page.bring_to_front()  # keys are lost before the page is in front and painted
        page.evaluate(PAINTED)
        page.keyboard.press("Tab")
        page.wait_for_function("document.activeElement.id == 'choose'")
        page.keyboard.press("Enter")
    chooser.value.set_files([photo])
    page.evaluate(GIVE, ["drop", "dataTransfer", HOSTILE, [0, 1, 2]])
    page.evaluate(GIVE, ["paste", "clipboardData", "p.png", list(odd_images["dog/gray.png"])])
    page.locator("#csv:enabled").wait_for()
    assert page.locator("#status").inner_text() == "3 images, 1 could not be read"
    assert page.locator(".failed bdi").inner_text() == HOSTILE
    assert page.locator(".novel .remark").first.inner_text().startswith("unlike the training")

    page.locator(".explain").first.click()
    page.locator(".map:visible").wait_for()
    assert page.locator(".nearest:visible img").count() == 5
    found = Axe().run(page)
    serious = [one for one in found.response["violations"] if one["impact"] != "minor"]
    assert not serious, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep_screenshot(page, f"serve-{scheme}")

    with page.expect_download() as download:
        page.locator("#csv").click()
    rows = read_rows(Path(download.value.path()))
    assert [row["image"] for row in rows] == ["photo.jpg", HOSTILE, "p.png"]
    assert rows[0]["predicted"] == page.locator(".label").first.inner_text()
    page.locator("#clear").click()
    assert page.locator(".result").count() == 0
    page.get_by_role("link", name="Model card").click()
    page.get_by_role("heading", name="Card").wait_for()
    assert not messages and all(url.startswith((address, "blob:", "data:")) for url in requests)
    context.close()
