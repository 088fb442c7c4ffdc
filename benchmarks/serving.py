"""Load `classifold serve`: clients that send photos, hostile uploads in between, and a SIGTERM.

    python benchmarks/serving.py                             # EfficientNet-Lite0, random weights
    python benchmarks/serving.py --project ~/fruit --model lite2

Each client sends one photo per request and waits for the reply. The speed is compared with the
networks alone on ready pixels, in the batches that the server forms, before and after the load;
once by the clock, and once by processor time, in which other work on the machine does not count.
Clients and server share the cores. The exit code is 1 if a reply is wrong, if the server does not
stop cleanly, or if memory grows by more than a tenth after the first quarter.
"""

import argparse
import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from classifold.data.image_table import iter_columns, iter_images
from classifold.data.json_file import write_json
from classifold.data.pixels import rgb_pixels
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest
from classifold.models.model_file import build_network, save_model
from classifold.serving.new_images import NewPixels
from classifold.serving.predict import Classifier
from classifold.serving.web.inference import MIN_IMAGES_AT_ONCE
from comparison import Benchmark, Options
from synthetic import make_photos

ROOT = Path(__file__).parents[1]
N_IMAGES = 48
CLASSES = ["blue", "red"]
MAX_GROWTH = 1.1  # of memory
SECONDS_BETWEEN_HOSTILE = 0.5

HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

BOMB = zlib.compress(bytes(2**24))
HOSTILE = {
    "bomb.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0" + BOMB,
    "cut.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01",
    "page.jpg": b"<html><script>alert(1)</script></html>",
    "<img src=x onerror=alert(1)>.png": b"\0" * 1000,
    "archive.zip": b"PK\x03\x04" + bytes(100),
}


class Speed(NamedTuple):
    """How fast images are predicted."""

    per_second: float  # images
    seconds: float  # of processor time per image


class Load(NamedTuple):
    """What the clients measured."""

    seconds: list[float]  # of each reply
    n_busy: int  # replies 429
    wrong: list[str]  # wrong replies
    n_hostile: int
    memory: list[int]  # bytes of all processes of the server, each second
    processor: tuple[float, float]  # seconds of the server, and of the clients


def main() -> None:
    """Load a server, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="pixels of the network's images")
    parser.add_argument("--project", type=Path, help="a trained project")
    parser.add_argument("--model", default="stack")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, model = options.project, options.model
        if root is None:
            root, model = Path(scratch) / "project", "lite0"
            prepare(root, size=options.size)
        run(root, model, seconds=options.seconds, n_clients=options.clients)


def serve_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    """Compare requests of single photos by 16 clients with the network alone on ready pixels."""
    size, n_clients = 64 if options.tiny else 224, 16
    project = root / "served"
    prepare(project, size=size)
    classifier, images = load_classifier(project, "lite0")
    requests = [request_of({f"{i}.jpg": image}) for i, image in enumerate(images)]
    ready = ready_pixels(classifier, images)
    n_batches = options.few(8, least=1)
    n_images = n_batches * len(ready)
    server, port = start(project, "lite0")

    async def send() -> None:
        waiting = iter(range(n_images))

        async def client() -> None:
            connection = await asyncio.open_connection("127.0.0.1", port)
            for number in waiting:  # the next request that no client has sent
                status, _ = await ask(*connection, requests[number % len(requests)])
                assert status == 200
            connection[1].close()

        await asyncio.gather(*(client() for _ in range(n_clients)))

    def bare() -> None:
        for _ in range(n_batches):
            classifier.predict_decoded(ready)

    try:
        asyncio.run(exchange(port, [requests[0]]))  # the processes that decode have started
        bare()
        yield Benchmark(
            f"P10 `serve`, {n_clients} clients, EfficientNet-Lite0, {size} px",
            "the network alone on ready pixels",
            "images",
            n_images,
            lambda _: asyncio.run(send()),
            lambda _: bare(),
            target=0.8,
        )
    finally:
        server.terminate()
        server.wait()


def load_classifier(root: Path, model: str) -> tuple[Classifier, list[bytes]]:
    """Load a classifier, and images of its project."""
    classifier = Classifier.load(root, model=model)
    ids = [row["id"] for row in iter_columns(classifier.ingested, ["id"])][:N_IMAGES]
    return classifier, [encoded for _, encoded in iter_images(classifier.ingested, ids)]


def start(root: Path, model: str) -> tuple[psutil.Popen, int]:
    """Start a server, and return it and its port."""
    command = [sys.executable, "-m", "classifold", "serve", "--port", "0", "--model", model]
    server = psutil.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    return server, int(re.search(r"http://127\.0\.0\.1:(\d+)", line)[1])


def ready_pixels(classifier: Classifier, images: list[bytes]) -> list[tuple[str, NewPixels]]:
    """Decode the images of one batch of the server."""
    settings = {"size": classifier.pack_size, "resize": classifier.resize}
    return [("", NewPixels(rgb_pixels(one, **settings))) for one in images[:MIN_IMAGES_AT_ONCE]]


def run(root: Path, model: str, *, seconds: float, n_clients: int) -> None:
    """Load the server of one project."""
    classifier, images = load_classifier(root, model)
    bare = [bare_speed(classifier, images, seconds=seconds / 8)]
    server, port = start(root, model)
    load = asyncio.run(attack(port, images, server, seconds=seconds, n_clients=n_clients))
    stopped = stop_under_load(server, port, images)
    bare.append(bare_speed(classifier, images, seconds=seconds / 8))
    if not report(load, bare, stopped, seconds=seconds):
        raise SystemExit(1)


def prepare(root: Path, *, size: int) -> None:
    """Make a project with photos and one network, which has random weights."""
    photos = make_photos(root / "photos", n_images=N_IMAGES, size=300)
    shutil.copy(ROOT / "params.yaml", root)
    ingested = root / "data/ingested"
    ingested.mkdir(parents=True)
    with open_source(str(photos), layout="folder", task="single", scratch=root) as (tree, found):
        limits = {"fraction": 0, "count": 0}
        ingest(tree, found, ingested, background=(255, 255, 255), max_unreadable=limits)
    folder = root / "models/lite0"
    folder.mkdir(parents=True)
    arguments = {"name": "tf_efficientnet_lite0"}
    network = build_network("timm", n_classes=2, image_size=size, arguments=arguments)
    preprocessing = {"pack_size": size, "resize": "lanczos", "image_size": size}
    save_model(
        folder,
        network,
        network="timm",
        arguments=arguments,
        classes=CLASSES,
        preprocessing=preprocessing | {"normalize": "half"},
        training={"threads": 2, "task": "single"},
    )
    decisions = {"task": "single", "classes": CLASSES, "models": {"lite0": {"temperature": 1.0}}}
    write_json(
        root / "data/compared/decisions.json",
        decisions | {"class_proportions": dict.fromkeys(CLASSES, 0.5)},
    )


def bare_speed(classifier: Classifier, images: list[bytes], *, seconds: float) -> Speed:
    """Measure the networks alone."""
    ready = ready_pixels(classifier, images)
    classifier.predict_decoded(ready)
    start, processor, n_images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() < start + seconds:
        classifier.predict_decoded(ready)
        n_images += len(ready)
    per_image = (time.process_time() - processor) / n_images
    return Speed(n_images / (time.perf_counter() - start), per_image)


async def attack(
    port: int, images: list[bytes], server: psutil.Process, *, seconds: float, n_clients: int
) -> Load:
    """Send photos and hostile files, and watch the memory."""
    requests = [request_of({f"{i}.jpg": image}) for i, image in enumerate(images)]
    load = Load([], 0, [], 0, [], (0, 0))
    counts = {"busy": 0, "hostile": 0, "watching": 0.0}
    await exchange(port, [requests[0]])  # the processes that decode have started
    before = processor_time(server), time.process_time()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            number += n_clients
            start = time.perf_counter()
            status, reply = await ask(reader, writer, requests[number % len(requests)])
            if status == 429:
                counts["busy"] += 1
                await asyncio.sleep(1)
            elif status != 200 or not json.loads(reply)["predictions"][0]["labels"]:
                load.wrong.append(f"{status}: {reply[:200]!r}")
            else:
                load.seconds.append(time.perf_counter() - start)
        writer.close()

    async def hostile() -> None:
        while time.perf_counter() < end:
            for name, content in HOSTILE.items():
                ((status, reply),) = await exchange(port, [request_of({name: content})])
                counts["hostile"] += 1
                if status != 200 or not json.loads(reply)["predictions"][0]["reason"]:
                    load.wrong.append(f"{name}: {status}: {reply[:200]!r}")
                await asyncio.sleep(SECONDS_BETWEEN_HOSTILE)

    async def watch() -> None:
        while time.perf_counter() < end:
            start = time.process_time()
            load.memory.append(memory_of(server))
            counts["watching"] += time.process_time() - start
            await asyncio.sleep(min(1, seconds / 10))

    await asyncio.gather(*(client(i) for i in range(n_clients)), hostile(), watch())
    of_clients = time.process_time() - before[1] - counts["watching"]
    used = processor_time(server) - before[0], of_clients
    return load._replace(n_busy=counts["busy"], n_hostile=counts["hostile"], processor=used)


def request_of(files: Mapping[str, bytes]) -> bytes:
    """Build an HTTP request that sends files: name -> content."""
    head = '--b\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\n\r\n'
    parts = [(head % name).encode() + content + b"\r\n" for name, content in files.items()]
    body = b"".join(parts) + b"--b--\r\n"
    return (
        b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


async def exchange(port: int, requests: list[bytes]) -> list[tuple[int, bytes]]:
    """Send requests over a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies = [await ask(reader, writer, request) for request in requests]
    writer.close()
    return replies


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Send a request; returns the status and the body of its reply."""
    writer.write(request)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = reader.readexactly(int(length[1])) if length else reader.read()
    return int(head.split(maxsplit=2)[1]), await body


def stop_under_load(server: psutil.Popen, port: int, images: list[bytes]) -> str:
    """Send SIGTERM while a request runs; returns what was wrong, or nothing."""

    async def stop() -> int:
        last = images[:MIN_IMAGES_AT_ONCE]
        many = request_of({f"{i}.jpg": image for i, image in enumerate(last)})
        running = asyncio.create_task(exchange(port, [many]))
        n_waiting = 0
        while not n_waiting:
            ((_, health),) = await exchange(port, [HEALTH])
            n_waiting = json.loads(health)["n_waiting"]
        server.send_signal(signal.SIGTERM)
        ((status, _),) = await running
        return status

    children = server.children(recursive=True)
    status = asyncio.run(stop())
    code = server.wait(60)
    _, alive = psutil.wait_procs(children, timeout=10)
    if (status, code, alive) == (200, 0, []):
        return ""
    return f"status of the running request {status}, exit code {code}, still running {alive}"


def processor_time(server: psutil.Process) -> float:
    """Sum the seconds of processor time of a process and its children."""
    times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
    return sum(one.user + one.system for one in times)


def memory_of(server: psutil.Process) -> int:
    """Sum the memory of a process and its children, shared pages in parts."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total


def report(load: Load, bare: list[Speed], stopped: str, *, seconds: float) -> bool:
    """Print what was measured; returns whether all was right."""
    speed = len(load.seconds) / seconds
    alone, processor = np.mean(bare, axis=0)
    of_server, of_clients = (used / len(load.seconds) for used in load.processor)
    median, slow = np.percentile(load.seconds, [50, 99])
    quarter = max(1, len(load.memory) // 4)
    first = np.median(load.memory[quarter : 2 * quarter])
    last = np.median(load.memory[-quarter:])
    print(
        f"{speed:.1f} requests/s; the networks alone {bare[0].per_second:.1f} images/s before, "
        f"{bare[1].per_second:.1f} after: ratio {speed / alone:.2f}\n"
        f"processor time per request: server {1000 * of_server:.1f} ms, clients "
        f"{1000 * of_clients:.1f} ms; the networks alone {1000 * processor:.1f} ms: ratio "
        f"{processor / (of_server + of_clients):.2f}\n"
        f"latency: median {median:.3f} s, p99 {slow:.3f} s; {len(load.seconds):,} replies, "
        f"{load.n_busy} of a busy server\n"
        f"{load.n_hostile} hostile uploads; {len(load.wrong)} wrong replies {load.wrong[:3]}\n"
        f"memory: {first / 2**20:.0f} MiB in the second quarter, {last / 2**20:.0f} MiB in the "
        f"last: factor {last / first:.3f}\n"
        f"SIGTERM: {stopped or 'the running request was finished, exit code 0'}"
    )
    return not (load.wrong or stopped) and last < MAX_GROWTH * first


if __name__ == "__main__":
    main()
