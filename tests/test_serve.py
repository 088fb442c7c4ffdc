"""The server predicts exactly what `predict` does, within limits, for its own pages only."""

import asyncio
import csv
import io
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import jsonschema
import numpy as np
import pytest
import uvicorn
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from classifold.errors import UserError
from classifold.ingest.ingestion import CRASHED
from classifold.ingest.limits import OUT_OF_MEMORY
from classifold.runtime.bounded_workers import CrashError, MemoryLimitError, TimeLimitError
from classifold.serving.new_images import NewPixels
from classifold.serving.predict import Classifier
from classifold.serving.predictions_file import write_predictions
from classifold.serving.web.app import make_app
from classifold.serving.web.decoding import Decoder
from classifold.serving.web.inference import InferenceThread
from classifold.serving.web.limits import MIB, Admission, Limits
from classifold.serving.web.schema import Predictions
from classifold.serving.web.security import Guard
from classifold.serving.web.server import bind, run
from classifold.serving.web.uploads import arriving, declared_length
from watched_files import AVAILABLE, WatchedFiles

OWN = "http://127.0.0.1:8000"


@pytest.fixture
def served(project, keep_training_images):
    """Make a client of a new server, and the classifier that it serves."""
    clients = []

    def start(task="single", *, model="stack", host="127.0.0.1", known=False, **limits):
        root = project(task)
        if known:
            keep_training_images(root)
        classifier = Classifier.load(root, model=model)
        app = make_app(classifier, root=root, host=host, limits=Limits(**limits))
        client = TestClient(app, base_url=OWN, raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__(), classifier

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def in_new_loop(coroutine):
    """Run a coroutine; in the thread of the tests, a browser may have a loop that runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def post(client, images, address="/v1/predict", **options):
    """Send images: name -> content."""
    parts = [("images", (name, content)) for name, content in images.items()]
    return client.post(address, files=parts, **options)


def png_of(width, height):
    """A PNG that declares a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("task", ["single", "multi"])
def test_replies_and_csv_equal_those_of_predict_bit_for_bit(served, odd_images, tmp_path, task):
    client, classifier = served(task, known=task == "single")
    root = classifier.ingested.parents[1]
    paths = [root / "source" / name for name in odd_images]
    expected = list(classifier.predict(paths))
    reply = post(client, odd_images).json()
    alone = [post(client, {name: content}).json() for name, content in odd_images.items()]
    assert reply["predictions"] == [one["predictions"][0] for one in alone]
    for found, prediction in zip(reply["predictions"], expected, strict=True):
        probabilities = {one["class"]: one["probability"] for one in found["probabilities"]}
        assert list(probabilities.items()) == list(prediction.probabilities.items())
        for field in ("labels", "sets", "remark", "novelty", "is_novel"):
            assert found[field] == getattr(prediction, field), field

    named = [p._replace(image=name) for p, name in zip(expected, odd_images, strict=True)]
    csv_file = tmp_path / "expected.csv"
    settings = {"levels": classifier.levels, "novelty": task == "single"}
    write_predictions(csv_file, named, task=task, top=3, **settings)
    assert client.post("/v1/csv", json=reply).content == csv_file.read_bytes()


def test_each_bad_image_has_a_reason_and_the_others_are_predicted(served, odd_images):
    client, _ = served()
    good = odd_images["cat/photo.jpg"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", odd_images["dog/gray.png"])
    reasons = {
        "a bomb.png": (png_of(60_000, 60_000), "too many pixels"),
        "a line.png": (png_of(10**9, 1), "too many pixels"),
        "large.png": (png_of(9000, 9000), "the maximum is 64,000,000"),
        "cut.jpg": (good[: len(good) // 2], "cannot be decoded"),
        "page.jpg": (b"<html><script>alert(1)</script>", "not an image"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        "more.zip": (archive.getvalue(), "not an image"),
        "empty.png": (b"", "an empty file"),
        "<img src=x onerror=alert(1)>.png": (b"\0", "not an image"),
        "\u202egnp.exe": (b"\0", "not an image"),
    }
    images = {name: content for name, (content, _) in reasons.items()}
    reply = post(client, images | {"good.jpg": good})
    *bad, last = reply.json()["predictions"]
    for found, (name, (_, reason)) in zip(bad, reasons.items(), strict=True):
        assert reason in found["reason"], name
        assert found["labels"] == found["probabilities"] == []
    assert last["labels"] and last["reason"] is None
    names = [found["image"] for found in bad]
    assert names[-2:] == ["<img src=x onerror=alert(1)>.png", r"\u202egnp.exe"]
    assert reply.headers["content-type"] == "application/json"
    text = client.post("/v1/csv", json=reply.json() | {"predictions": bad}).text
    assert [row["image"] for row in csv.DictReader(io.StringIO(text))] == names


@pytest.mark.promise("serve-bounded")
def test_the_limits_of_decoding_are_reasons(project, odd_images, monkeypatch):
    decoder = Decoder(Classifier.load(project()), Limits(decode_seconds=3, decode_bytes=300 * MIB))
    assert decoder._decode(odd_images["cat/photo.jpg"]).pixels.shape == (16, 16, 3)
    decoder.stop()
    for error, reason in [
        (TimeLimitError, "more than 3 s"),
        (MemoryLimitError, "more than 300 MiB"),
        (CrashError, CRASHED),
    ]:
        monkeypatch.setattr(decoder._workers, "apply", Mock(side_effect=error))
        assert reason in decoder._decode(b"").reason
    monkeypatch.setattr(decoder._workers, "apply", lambda _: NewPixels(None, OUT_OF_MEMORY))
    assert "more than 300 MiB" in decoder._decode(b"").reason


@pytest.mark.promise("limit-request")
def test_limits_of_a_request(served, odd_images):
    client, _ = served(max_body=20_000, max_table=10_000, max_images=2)
    image = odd_images["cat/photo.jpg"]
    assert post(client, {"a": image, "b": image}).status_code == 200
    for images, code, words in [
        ({"a": image, "b": image, "c": image}, 400, "Maximum number of files is 2"),
        ({"a": bytes(30_000)}, 413, "--max-mib"),
    ]:
        reply = post(client, images)
        assert reply.status_code == code and words in reply.json()["error"]
    chunks = iter([b"x" * 15_000] * 2)  # without Content-Length
    assert client.post("/v1/csv", content=chunks).status_code == 413
    assert client.post("/v1/csv", content=bytes(15_000)).status_code == 413
    assert client.post("/v1/predict", content=image).status_code == 415
    other = client.post("/v1/predict", files={"photo": image})
    assert other.status_code == 400 and "got photo" in other.json()["error"]
    assert post(client, {"a": image}, params={"top": "x"}).status_code == 400
    assert client.post("/v1/csv", json={"predictions": 3}).status_code == 400
    assert client.get("/health").json() == {"status": "ok", "n_waiting": 0}


@pytest.mark.skipif(not AVAILABLE, reason="inotify exists on Linux alone")
@pytest.mark.promise("serve-keeps-nothing")
def test_no_image_is_written_to_a_file(served, odd_images, tmp_path, monkeypatch):
    client, _ = served(known=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = odd_images["cat/photo.jpg"] + bytes(3 * MIB)  # starlette would write it to a file
    watched = WatchedFiles(tmp_path)
    for address in ("/v1/predict", "/v1/explain"):
        assert post(client, {"a.jpg": large}, address).status_code == 200
    assert watched.take().written == set()
    watched.close()


def test_a_form_that_is_cut_off_is_refused(served, odd_images):
    client, _ = served()
    part = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    part += odd_images["cat/photo.jpg"] + b"\r\n"
    headers = {"Content-Type": "Multipart/Form-Data; boundary=b"}
    for form, code in [(part * 2 + b"--b--\r\n", 200), (part * 2, 400), ((part * 2)[:-9], 400)]:
        assert client.post("/v1/predict", content=form, headers=headers).status_code == code


def test_predictions_that_this_server_did_not_make_are_refused(served, odd_images):
    client, _ = served()
    reply = post(client, {"a": odd_images["cat/photo.jpg"]}).json()
    for change in ({"sets": {"0.123": ["cat"]}}, {"labels": ["cat"], "probabilities": []}):
        (prediction,) = reply["predictions"]
        changed = client.post("/v1/csv", json=reply | {"predictions": [prediction | change]})
        assert changed.status_code == 400 and next(iter(change)) in changed.json()["error"]


def test_a_body_in_chunks_holds_the_memory_of_the_largest_whatever_length_it_declares():
    headers = [(b"content-length", b"0"), (b"transfer-encoding", b"chunked")]
    request = Request({"type": "http", "headers": headers})
    assert declared_length(request, Limits(max_body=10)) == 10


def test_errors_of_predictions_are_not_collected():
    for invalid in ([0] * 9, [{"labels": [0] * 9, "probabilities": [0] * 9}]):
        with pytest.raises(ValidationError) as error:
            Predictions.model_validate({"model": "", "predictions": invalid})
        assert error.value.error_count() < 10


def test_a_csv_has_at_most_the_columns_of_all_classes(served, odd_images):
    client, classifier = served()
    reply = post(client, {"a": odd_images["cat/photo.jpg"]}).json()
    reply["predictions"][0]["probabilities"] *= 9
    columns = client.post("/v1/csv", json=reply).text.splitlines()[0].split(",")
    n_listed = sum(name.startswith("class_") for name in columns)
    assert n_listed == len(classifier.classes)


def test_a_bug_is_reported_with_the_headers_of_every_reply(served, monkeypatch):
    monkeypatch.setattr("classifold.serving.web.app.describe_api", lambda: 1 / 0)
    reply = served()[0].get("/openapi.json")
    assert reply.status_code == 500 and "division" not in reply.text
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.promise("limit-request")
def test_a_request_that_arrives_too_slowly_is_a_408():
    async def arrive():
        async with arriving(Limits(body_seconds=0.01)):
            await asyncio.sleep(60)

    with pytest.raises(HTTPException, match="must arrive within") as error:
        in_new_loop(arrive())
    assert error.value.status_code == 408


@pytest.mark.promise("limit-request")
def test_a_full_queue_is_a_429_with_the_time_to_wait(served, odd_images):
    client, _ = served(max_waiting=2)
    images = dict.fromkeys("abc", odd_images["cat/photo.jpg"])
    reply = post(client, images)
    assert reply.status_code == 429 and int(reply.headers["Retry-After"]) >= 1
    assert post(client, {"a": images["a"]}).status_code == 200  # nothing is left in the queue
    admission = Admission(Limits(max_body=10, max_bodies=2))
    with admission.body(10), admission.body(10), pytest.raises(HTTPException, match="busy"):
        admission.body(1).__enter__()


def test_waiting_images_are_predicted_in_whole_batches(project):
    classifier = Classifier.load(project())
    thread = InferenceThread(classifier, Admission(Limits()))
    sizes = []

    class Recorder:
        def predict_decoded(self, named):
            sizes.append(len(named))
            return classifier.predict_decoded(named)

    thread._classifier, thread._batch_size, thread._max_images = Recorder(), 4, 8
    image = NewPixels(np.zeros((16, 16, 3), np.uint8))
    block = thread.call(lambda: time.sleep(0.3))
    time.sleep(0.1)
    futures = [thread.predict(str(i), image) for i in range(14)]
    futures[0].cancel()
    thread.stop()
    assert block.done() and sizes == [7, 4, 2]
    assert [f.result().image for f in futures[1:]] == [str(i) for i in range(1, 14)]


@pytest.mark.promise("serve-alone", "serve-refuses")
def test_requests_of_other_sites_are_refused(served):
    client, _ = served()
    for headers, code in [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": OWN}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "attacker.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Host": "[::1"}, 403),
    ]:
        reply = client.post("/v1/csv", json={"model": "", "predictions": []}, headers=headers)
        assert reply.status_code == code, headers
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


def test_a_request_that_runs_too_long_when_the_server_stops_gets_a_503():
    async def run():
        forever = Mock(side_effect=lambda *_: asyncio.sleep(60))
        scope = {"type": "http", "method": "GET", "headers": [(b"host", b"localhost")]}
        sent = asyncio.Queue()
        task = asyncio.create_task(Guard(forever, host="localhost")(scope, Mock(), sent.put))
        await asyncio.sleep(0)
        task.cancel()
        await task
        return sent.get_nowait()["status"]

    assert in_new_loop(run()) == 503


def test_replies_are_those_of_the_description(served, odd_images):
    client, classifier = served(known=True)
    described = client.get("/openapi.json").json()
    references = set(_values(described, "$ref"))
    for reference in references:
        node = described
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]
    image = {"a.jpg": odd_images["cat/photo.jpg"]}
    replies = {
        "/v1/predict": post(client, image),
        "/v1/explain": post(client, image, "/v1/explain"),
        "/v1/model": client.get("/v1/model"),
        "/health": client.get("/health"),
    }
    for address, reply in replies.items():
        (operation,) = described["paths"][address].values()
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(reply.json(), schema | {"components": described["components"]})
    assert set(described["paths"]) == {*replies, "/v1/csv", "/model-card"}
    assert replies["/v1/model"].json()["classes"] == classifier.classes
    nearest = replies["/v1/explain"].json()["nearest"]
    assert nearest[0]["id"] == "cat/photo.jpg" and nearest[0]["labels"] == ["cat"]
    assert nearest[0]["thumbnail"].startswith("data:image/webp;base64,")


def _values(node, key):
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if name == key)
        node = list(node.values())
    for child in node if isinstance(node, list) else []:
        yield from _values(child, key)


@pytest.mark.parametrize(("model", "method"), [("deep", "Grad-CAM"), ("flat", "occlusion")])
def test_explanations_are_of_the_class_that_is_asked_for(served, odd_images, model, method):
    client, _ = served(model=model)
    image = {"a.jpg": odd_images["cat/photo.jpg"]}
    predicted = post(client, image).json()["predictions"][0]["labels"]
    first, second = (
        post(client, image, "/v1/explain", params=params).json()
        for params in ({}, {"class": "owl"})
    )
    assert [first["explained"]] == predicted and first["method"] == method
    assert second["explained"] == "owl" and second["map"] != first["map"]
    unknown = post(client, image, "/v1/explain", params={"class": "owls"})
    assert unknown.status_code == 400
    assert "Did you mean 'owl'? Choose one of cat, dog, owl." in unknown.json()["error"]
    bad = post(client, {"a": b"no"}, "/v1/explain")
    assert bad.status_code == 400 and "not an image" in bad.json()["error"]


def test_the_card_is_shown_as_text(served):
    client, classifier = served()
    assert client.get("/model-card").status_code == 404
    card = classifier.ingested.parents[1] / "reports/MODEL_CARD.md"
    card.parent.mkdir()
    card.write_text(
        "# Card\n\n<script>alert(1)</script> ![p](http://x.example/y.png)\n\n| n |\n|--:|\n| 1 |\n"
    )
    page = client.get("/model-card").text
    assert "<h1>Card</h1>" in page and '<td class="number">1</td>' in page
    assert not [tag for tag in ("<script", "<img", "style=") if tag in page]


@pytest.mark.parametrize(
    ("method", "path", "status", "texts"),
    [
        ("GET", "/predict", 404, ["Did you mean '/v1/predict'? Choose one of /, ", "/model-card"]),
        ("POST", "/nothing", 404, ["/nothing: no such path. Choose one of /, /v1/predict, "]),
        ("GET", "/v1/predict", 405, ["must be POST, got GET", "GET for /, /v1/model, /health"]),
        ("POST", "/", 405, ["must be GET, got POST", "or POST for /v1/predict, /v1/explain"]),
        ("PUT", "/page.js", 405, ["must be GET, got PUT. Use GET."]),
    ],
)
def test_paths_and_methods_that_do_not_exist_get_those_that_do(served, method, path, status, texts):
    client, _ = served()
    reply = client.request(method, path)
    assert reply.status_code == status
    for text in texts:
        assert text in reply.json()["error"]
    assert "page.css" not in reply.text


def test_a_browser_gets_errors_as_a_page(served):
    client, _ = served()
    client.headers["Accept"] = "text/html,*/*;q=0.8"
    for path in ("/<b>", "/v1/predict", "/model-card"):
        reply = client.get(path)
        assert reply.status_code in (404, 405)
        assert reply.headers["content-type"].startswith("text/html")
        assert "<title>Error" in reply.text and "<b>" not in reply.text
    assert client.post("/nothing").json()["error"].startswith("/nothing")


def test_sets_of_too_few_calibration_images_are_explained(served, odd_images):
    client, classifier = served()
    assert client.get("/v1/model").json()["set_warnings"] == []
    classifier.decision.update({"prediction_sets": {"0.9": 0.0}, "n_calibration_images": 8})
    explanation = client.get("/v1/model").json()["set_warnings"]
    assert "at least 9 calibration images, got 8." in explanation[0]
    reply = post(client, {"a.jpg": odd_images["cat/photo.jpg"]}).json()
    assert reply["set_warnings"] == explanation
    assert len(reply["predictions"][0]["sets"]["0.9"]) == 3


def test_a_model_that_predicts_nan_is_an_error_and_no_traceback(served, odd_images, monkeypatch):
    client, classifier = served(model="flat")
    for parameter in classifier.members["flat"].network.parameters():
        parameter.data.fill_(float("nan"))
    reply = post(client, {"a": odd_images["cat/photo.jpg"]})
    assert reply.status_code == 503 and "Train it again" in reply.json()["error"]


def test_a_port_in_use_is_named():
    with bind("127.0.0.1", 0) as listener, pytest.raises(UserError, match="in use") as error:
        bind("127.0.0.1", listener.getsockname()[1])
    assert "--port" in str(error.value)
    with pytest.raises(UserError, match="--host"):
        bind("192.0.2.1", 0)


@pytest.mark.promise("limit-request")
def test_the_server_has_the_connections_of_the_limits(monkeypatch):
    configs = []
    monkeypatch.setattr(signal, "signal", Mock())  # the tests keep their own
    monkeypatch.setattr(uvicorn, "Server", lambda config: configs.append(config) or Mock())
    run(Mock(), Mock(), Limits(max_connections=7))
    assert configs[0].limit_concurrency == 7


@pytest.mark.slow
def test_the_server_under_load_is_right_and_stops_cleanly():
    script = Path(__file__).parents[1] / "benchmarks/serving.py"
    options = ["--seconds", "4", "--clients", "8", "--size", "64"]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 wrong replies" in done.stdout
