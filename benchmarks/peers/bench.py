"""Run peers on the images of an archive for a budget of seconds."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from classifold.data.json_file import read_json, write_json
from peers.measure import measure
from peers.prepare import prepare, write_hub_cache
from peers.roster import Peer
from peers.scores import baseline, score

SLOWEST = 3  # a peer is stopped after this multiple of the budget, and after LEAST seconds
LEAST = 1200
# Settings of this shell that would change how many threads a library uses.
THREADS = ("OMP_", "GOMP_", "MKL_", "KMP_")


def run(
    peers: Sequence[Peer], archive: Path, budget: int, *, python: Path, folder: Path
) -> list[dict[str, Any]]:
    """Run peers one after the other; a peer that has a result in the folder does not run again.

    Args:
        peers: see `roster`.
        archive: labeled images.
        budget: seconds for everything from the start to the predictions.
        python: interpreter of the peers' environment.
        folder: for images and results.

    Returns:
        One result per peer, as in its file `results/<images>/<budget>/<peer>.json`.
    """
    folder = folder.absolute()
    images = folder / "images" / archive.stem
    prepare(archive, images)
    write_hub_cache(folder / "huggingface")
    results = folder / "results" / archive.stem / str(budget)
    return [
        _cached(results / f"{peer.script.stem}.json", peer, images, budget, python=python)
        for peer in peers
    ]


def _cached(path: Path, peer: Peer, images: Path, budget: int, *, python: Path) -> dict[str, Any]:
    if path.exists():
        return read_json(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    information = read_json(images / "images/information.json")
    result = {"peer": peer.name, "images": images.name, "budget": budget}
    result |= {"lines": peer.n_lines, "commands": peer.commands}
    if information["task"] == "multi" and not peer.several_labels:
        result |= {"end": "unsupported"}
    else:
        print(f"{images.name}, {budget} s: {peer.name} ...", file=sys.stderr, flush=True)
        interpreter = Path(sys.executable) if peer.ours else python
        result["version"] = _version(interpreter, peer.distribution)
        result |= _run_within(peer, images, budget, interpreter, log=path.with_suffix(".log"))
        result |= _scores(images, information, result.pop("predicted", None))
    write_json(path, result)
    return read_json(path)


def _run_within(
    peer: Peer, images: Path, budget: int, interpreter: Path, *, log: Path
) -> dict[str, Any]:
    """Run a peer; one that takes no limit of time once for one epoch, and again if time is left.

    The seconds of that epoch decide how many epochs fit into the budget.
    """
    result = _run(peer, images, budget, 1, interpreter, log=log)
    if not peer.limited and result.get("epoch_seconds"):
        more = int((budget - result["seconds"]) / result["epoch_seconds"])
        if more > 0:
            longer = _run(peer, images, budget, 1 + more, interpreter, log=log)
            result = longer if longer["end"] == "ok" else result
    return result


def _run(
    peer: Peer, images: Path, budget: int, epochs: int, interpreter: Path, *, log: Path
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        out = Path(scratch)
        command = [interpreter, peer.script, images / "images", out, budget, epochs]
        started = time.time()
        cost = measure(
            [str(part) for part in command],
            folder=out,
            environment=_environment(images.parents[1] / "huggingface", out),
            limit=max(SLOWEST * budget, LEAST),
        )
        printed = (out / "log.txt").read_text(errors="replace")
        log.write_text(printed)
        result: dict[str, Any] = cost._asdict() | {"date": time.strftime("%Y-%m-%d", time.gmtime())}
        if cost.end != "ok":
            return result | {"message": printed.strip().rpartition("\n")[2]}
        report = json.loads((out / "report.json").read_text())
    result["first_result_seconds"] = report.pop("ready") - started
    seconds, n_seen = report.pop("training_seconds"), report.pop("n_seen")
    result["images_per_second"] = n_seen / seconds if seconds and n_seen else None
    return result | report


def _environment(hub: Path, out: Path) -> dict[str, str]:
    """The environment of a script: offline, and with the library's own number of threads.

    The C library keeps freed memory, as Classifold makes it do itself (`keep_freed_memory`).
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(THREADS)}
    return kept | {
        "HF_HOME": str(hub),
        "HF_HUB_OFFLINE": "1",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "YOLO_CONFIG_DIR": str(out),
        "YOLO_OFFLINE": "1",
    }


def _scores(
    images: Path, information: dict[str, Any], predicted: dict[str, list[str]] | None
) -> dict[str, Any]:
    if predicted is None:
        return {}
    sources = read_json(images / "sources.json")
    known = {"classes": information["classes"], "task": information["task"]}
    value, interval = score(predicted, sources["test_labels"], **known)
    return {
        "metric": "accuracy" if known["task"] == "single" else "micro F1",
        "score": value,
        "interval": interval,
        "baseline": baseline(sources["train_labels"], sources["test_labels"], **known),
        "n_test": len(predicted),
    }


def _version(interpreter: Path, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    done = subprocess.run([interpreter, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
