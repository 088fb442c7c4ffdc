"""Run every benchmark: ours and its peer in turn, on the same images, in one process each.

A shared machine's times mean little; the ratios of one interleaved run do. Each line prints the
median images a second of both and their ratio, with the smallest and largest ratio of a round.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import peers
from classifold.augmentation.offline import write_packs
from classifold.sources.folder import find_images
from classifold.sources.ingestion import ingest
from classifold.sources.tree import FolderTree
from draw import draw_photos

ROUNDS = 5


class Benchmark(NamedTuple):
    """Two ways to do the same work."""

    name: str
    peer: str
    n_images: int
    ours: Callable[[Path], object]
    theirs: Callable[[Path], object]


def main() -> None:
    """Draw the images, run the benchmarks."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        small = draw_photos(root / "small", n_images=8000, size=64)
        large = draw_photos(root / "large", n_images=400, size=300)
        augmentation = {
            "flips": ["none", "horizontal", "vertical", "both"],
            "warped": 1,
            "rotate": 15,
            "scale": [0.8, 1.0],
            "fill": "reflect",
        }
        for benchmark in (
            Benchmark(
                "ingest, 64 px",
                "Pillow loop, one process",
                8000,
                lambda out: _ingest(small, out),
                lambda out: peers.decode_all(small),
            ),
            Benchmark(
                "augment 8x offline, 300 px",
                "Pillow loop, one process",
                400 * 8,
                lambda out: _augment(large, out, augmentation),
                lambda out: peers.augment_all(large, out, rotate=15, scale=(0.8, 1.0)),
            ),
        ):
            _compare(benchmark, root)


def _ingest(folder: Path, out: Path) -> None:
    tree = FolderTree(folder)
    ingest(tree, find_images(tree.names(), where=str(folder)).images, out)


def _augment(folder: Path, out: Path, augmentation: dict) -> None:
    files = sorted(folder.rglob("*.jpg"))
    encoded = [(str(path), path.read_bytes()) for path in files]
    labels = {"train": {name: "class" for name, _ in encoded}, "validation": {}}
    images = {"train": encoded, "validation": []}
    write_packs(images, labels, out, size=300, resize="lanczos", seed=1, **augmentation)


def _compare(benchmark: Benchmark, root: Path) -> None:
    speeds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(ROUNDS):
        for name, work in (("ours", benchmark.ours), ("theirs", benchmark.theirs)):
            out = root / f"out-{number}-{name}"
            out.mkdir()
            start = time.perf_counter()
            work(out)
            speeds[name].append(benchmark.n_images / (time.perf_counter() - start))
            shutil.rmtree(out)
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["theirs"], strict=True)]
    print(
        f"{benchmark.name}: {statistics.median(speeds['ours']):,.0f} images/s, "
        f"{benchmark.peer}: {statistics.median(speeds['theirs']):,.0f} images/s, "
        f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
