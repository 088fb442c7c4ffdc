"""What one core does with real images of 224 pixels, step by step: the figures of docs/SCALE.md.

    python benchmarks/scale.py photos.zip fruit.zip

Images of the archives are brought to 224 x 224 pixels and stored as JPEG first, as a set of that
size would be. Every step then runs alone, in one process and one thread; a line tells images for a
second of a processor (the best of three rounds) and what an image takes.
"""

import argparse
import io
import itertools
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from classifold.analysis.pca import principal_components
from classifold.augmentation.offline import make_copies, write_packs
from classifold.augmentation.online import augment_rows, epoch_draws
from classifold.filtering.files import read_candidates
from classifold.filtering.selection import select
from classifold.images import decode
from classifold.inference import predict_logits
from classifold.networks.torchvision import build
from classifold.pack import read_pack
from classifold.pixels import rgb_pixels
from classifold.preprocessing import to_input
from classifold.sources.ingestion import Read, decode_read
from classifold.splitting.stratified import stratify
from classifold.table import iter_images, write_table

SIZE = 224
QUALITY = 90
ROUNDS = 3
SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}
DUPLICATES = {"exact": "drop", "near": "group", "distance": 4, "conflicting": "drop"}
AUGMENTATION = {
    "flips": ["none", "horizontal"],
    "warped": 1,
    "rotate": 15,
    "scale": [0.8, 1.0],
    "shear": 0,
    "shift": [0, 0],
    "fill": "reflect",
}
POLICY = {"fill": "reflect", "steps": [{"pad_crop": 0.125}, {"flip": "horizontal"}]}
TRAINED = 16  # images in a step


def main() -> None:
    """Measure every step."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("archives", type=Path, nargs="+")
    asked.add_argument("--images", type=int, default=1500)
    options = asked.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    originals = list(read_originals(options.archives, options.images))
    encoded = [enlarged(original) for original in originals]
    kilobytes = np.mean([len(one) for one in encoded]) / 1000
    print(f"{len(encoded)} images, {kilobytes:.1f} kB each at {SIZE} px (JPEG {QUALITY})")
    with tempfile.TemporaryDirectory() as folder:
        of_files(encoded, Path(folder))
    of_networks(encoded)


def read_originals(archives: list[Path], n_images: int) -> Iterator[bytes]:
    """Images of all archives in turn."""
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))]
            step = max(1, len(names) * len(archives) // n_images)
            for name in itertools.islice(names[::step], n_images // len(archives)):
                yield archive.read(name)


def enlarged(original: bytes) -> bytes:
    """An image of 224 x 224 pixels, as JPEG."""
    image = Image.open(io.BytesIO(original)).convert("RGB").resize((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def of_files(encoded: list[bytes], folder: Path) -> None:
    """The stages up to the pack, and what reads it."""
    n_images = len(encoded)
    ids = [f"{number % 20:02}/{number:06}.jpg" for number in range(n_images)]
    labels = [(name[:2],) for name in ids]
    report("ingest: decode, hash twice", n_images, lambda: [
        decode_read(Read(one, None), background=(255, 255, 255)) for one in encoded
    ])  # fmt: skip
    decoded = [decode(one) for one in encoded]
    rows = [
        {
            **dict.fromkeys(("part", "group", "boxes")),
            "id": name,
            "image": {"bytes": one.encoded, "path": name},
            "labels": label,
            "width": SIZE,
            "height": SIZE,
            "mode": one.mode,
            "sha256": one.pixels_sha256,
            "perceptual_hash": one.perceptual_hash,
        }
        for name, label, one in zip(ids, labels, decoded, strict=True)
    ]
    report("ingest: write the table (one process)", n_images, lambda: write_table(folder, rows))
    sizes = sum(path.stat().st_size for path in folder.glob("images-*")) / n_images
    print(f"  image table: {sizes / 1000:.1f} kB an image")
    candidates = read_candidates(folder)
    report("filter: read what it needs", n_images, lambda: read_candidates(folder))
    report("filter: select", n_images, lambda: select(
        candidates, size={"rule": "modal", "tolerance": 0}, duplicates=DUPLICATES
    ))  # fmt: skip
    report("split", n_images, lambda: stratify(labels, ids, shares=SHARES, seed=1))
    report("augment: decode", n_images, lambda: [
        rgb_pixels(one, size=SIZE, resize="lanczos") for one in encoded
    ])  # fmt: skip
    some = [rgb_pixels(one, size=SIZE, resize="lanczos") for one in encoded[:300]]
    report("augment: four copies of an image", len(some), lambda: [
        make_copies(pixels, image_id=name, seed=1, **AUGMENTATION)
        for name, pixels in zip(ids, some, strict=False)
    ])  # fmt: skip
    for storage in ("raw", "jpeg"):
        out = folder / storage
        settings = {"size": SIZE, "resize": "lanczos", "storage": storage, "seed": 1}
        write_packs(
            {"train": list(zip(ids, encoded, strict=True)), "validation": []},
            {"train": dict(zip(ids, labels, strict=True)), "validation": {}},
            out,
            task="single",
            **settings,
            **AUGMENTATION,
        )
        pack = read_pack(out / "train")
        n_rows = len(pack.labels)
        size = sum(path.stat().st_size for path in (out / "train").iterdir()) / n_rows
        print(f"  pack ({storage}): {size / 1000:.1f} kB an image and copy")
        rows = np.random.default_rng(1).permutation(n_rows)[:2000]
        report(
            f"train: read from the pack ({storage})", len(rows), partial(take, pack.images, rows)
        )
        draws = epoch_draws(POLICY, n_images=n_rows, seed=1, epoch=1)
        report(f"train: read, crop and flip, to a tensor ({storage})", len(rows), partial(
            batches, pack.images, rows, draws
        ))  # fmt: skip
    images = read_pack(folder / "raw/train").images
    report(
        "pca: to 32 px, three channels", len(images), lambda: principal_components(images, size=32)
    )
    report("any stage: images of the table in its order", n_images, lambda: list(
        iter_images(folder, ids)
    ))  # fmt: skip


def take(images: np.ndarray, rows: np.ndarray) -> None:
    """Read images in batches, in a random order."""
    for part in np.array_split(rows, len(rows) // 64):
        images[part]


def batches(images: np.ndarray, rows: np.ndarray, draws: np.ndarray) -> None:
    """Make inputs of them, as training does."""
    for part in np.array_split(rows, len(rows) // 64):
        found, _ = augment_rows(images, part, part, draws, policy=POLICY, size=SIZE)
        to_input(found, image_size=SIZE, normalize="imagenet", device=torch.device("cpu"))


def of_networks(encoded: list[bytes]) -> None:
    """Steps of training and answers of networks as they are trained at 224 pixels."""
    pixels = np.stack([rgb_pixels(one, size=SIZE, resize="lanczos") for one in encoded[:64]])
    for name in ("resnet18", "resnet50"):
        network = build(1000, image_size=SIZE, name=name)
        report(f"evaluate: {name}, fp32", len(pixels), lambda network=network: predict_logits(
            network,
            pixels,
            image_size=SIZE,
            normalize="imagenet",
            device=torch.device("cpu"),
        ))  # fmt: skip
        report(f"train: a step of {name}, bf16", TRAINED, training_step(network))


def training_step(network: torch.nn.Module) -> Callable[[], None]:
    """A step of training, on images that are ready."""
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    inputs = torch.rand(TRAINED, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(TRAINED)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def report(what: str, n_images: int, work: Callable[[], object]) -> None:
    """Time some work, and print how many images a second that is."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    rate = n_images / min(seconds)
    print(json.dumps({"step": what, "images_per_core_second": round(rate, 1)}), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
