"""Measure each step on one core, with real images of 224 pixels, for docs/SCALE.md.

    python benchmarks/scale.py photos.zip fruit.zip

Images of the archives are first resized to 224 x 224 pixels and encoded as JPEG. Every step then
runs alone, in one process and one thread. Each line has the images per second of CPU time (the best
of three rounds), or a size per image.
"""

import argparse
import io
import itertools
import json
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from classifold.analysis.pca.components import principal_components
from classifold.augmentation.offline import make_variants, write_packs
from classifold.augmentation.online.batches import augment_rows, epoch_draws
from classifold.data.image_table import iter_images, write_table
from classifold.data.pack import JPEG_QUALITY, new_pack, read_pack
from classifold.data.pixels import rgb_pixels
from classifold.data.predictions import read_predictions, write_predictions
from classifold.data.split_file import read_split
from classifold.filtering.files import read_candidates
from classifold.filtering.selection import select
from classifold.ingest.detection import find_source
from classifold.ingest.images import decode
from classifold.ingest.ingestion import Read, decode_read
from classifold.ingest.layout import Source
from classifold.ingest.zip_archive import ZipTree
from classifold.models.inference import predict_logits
from classifold.models.preprocessing import to_input
from classifold.networks.torchvision import build
from classifold.splitting.files import write_splits
from classifold.splitting.splits import Image as SplitImage
from classifold.splitting.splits import assign_splits
from classifold.splitting.stratified import stratify

SIZE = 224
QUALITY = 90
ROUNDS = 3
FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}
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
TRAIN_BATCH_SIZE = 16
N_LISTED = 20_000  # images in the lists whose memory is measured


def main() -> None:
    """Measure all steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=1500)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    originals = list(read_originals(options.archives, options.images))
    encoded = [resized(original) for original in originals]
    kilobytes = np.mean([len(one) for one in encoded]) / 1000
    print(f"{len(encoded)} images, {kilobytes:.1f} kB each at {SIZE} px (JPEG {QUALITY})")
    with tempfile.TemporaryDirectory() as folder:
        of_files(encoded, Path(folder))
        of_lists(encoded[0], Path(folder))
    of_networks(encoded)


def read_originals(archives: list[Path], n_images: int) -> Iterator[bytes]:
    """Yield images of all archives in turn."""
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))]
            step = max(1, len(names) * len(archives) // n_images)
            for name in itertools.islice(names[::step], n_images // len(archives)):
                yield archive.read(name)


def resized(original: bytes) -> bytes:
    """Resize an image to 224 x 224 pixels, as JPEG."""
    image = Image.open(io.BytesIO(original)).convert("RGB").resize((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def of_files(encoded: list[bytes], folder: Path) -> None:
    """Measure the stages up to the pack, and reading it."""
    n_images = len(encoded)
    ids = [f"{number % 20:02}/{number:06}.jpg" for number in range(n_images)]
    labels = [(name[:2],) for name in ids]
    report("ingest: decode, hash twice", n_images, lambda: [
        decode_read(Read(one, None), background=(255, 255, 255)) for one in encoded
    ])  # fmt: skip
    decoded = [decode(one) for one in encoded]
    rows = [
        {
            **dict.fromkeys(("split", "group", "boxes")),
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
    print(f"  image table: {sizes / 1000:.1f} kB per image")
    candidates = read_candidates(folder)
    report("filter: read what it needs", n_images, lambda: read_candidates(folder))
    report("filter: select", n_images, lambda: select(
        candidates, size={"rule": "modal", "tolerance": 0}, duplicates=DUPLICATES
    ))  # fmt: skip
    report("split", n_images, lambda: stratify(labels, ids, fractions=FRACTIONS, seed=1))
    report("augment: decode", n_images, lambda: [
        rgb_pixels(one, size=SIZE, resize="lanczos") for one in encoded
    ])  # fmt: skip
    some = [rgb_pixels(one, size=SIZE, resize="lanczos") for one in encoded[:300]]
    report("augment: four variants of an image", len(some), lambda: [
        make_variants(pixels, image_id=name, seed=1, **AUGMENTATION)
        for name, pixels in zip(ids, some, strict=False)
    ])  # fmt: skip
    report("augment: encode one as JPEG", len(some), lambda: [
        cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]) for pixels in some
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
        print(f"  pack ({storage}): {size / 1000:.1f} kB per variant")
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


def of_lists(encoded: bytes, folder: Path) -> None:
    """Measure the memory of Python lists that stages keep, in bytes per image."""
    ids = [f"class{number % 20:05}/{number:07}.jpg" for number in range(N_LISTED)]
    with zipfile.ZipFile(folder / "listed.zip", "w") as archive:
        for name in ids:
            archive.writestr(name, b"")
    rows = [
        {
            **dict.fromkeys(("split", "group", "boxes", "mode")),
            "id": name,
            "image": {"bytes": b"", "path": name},
            "labels": (name[:10],),
            "width": SIZE,
            "height": SIZE,
            "sha256": f"{number:064x}",
            "perceptual_hash": f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}",
        }
        for number, name in enumerate(ids)
    ]
    (folder / "listed").mkdir()
    write_table(folder / "listed", rows)
    settings = {"size": {"rule": "modal", "tolerance": 0}, "duplicates": DUPLICATES}
    images = [SplitImage(name, (name[:10],), name, None) for name in ids]
    splits = assign_splits(images, fractions=FRACTIONS, method="grouped", seed=1)
    write_splits(folder / "splits", images, splits)
    one = rgb_pixels(encoded, size=8, resize="lanczos")
    with new_pack(folder / "pack", n_images=N_LISTED, size=8, resize="box", classes=["a"]) as pack:
        for number, name in enumerate(ids):
            pack.put(number, [one])
            transformation = f"flip horizontal, rotate -{number % 15}.27, scale 0.{number % 100:03}"
            pack.describe(
                image_id=name, variant=number, transformation=transformation, labels=["a"]
            )
    probabilities = np.full((N_LISTED, 20), 0.05)
    labels = np.arange(N_LISTED) % 20
    names = [f"class{i:05}" for i in range(20)]
    predictions = folder / "predictions.parquet"
    settings_of = {"ids": ids, "labels": labels, "classes": names}
    write_predictions(predictions, {"one": probabilities}, {"one": labels}, **settings_of)
    for what, work in {
        "ingest: the list of files and labels": lambda: listed(folder / "listed.zip"),
        "filter: candidates and the selection": lambda: select(
            read_candidates(folder / "listed"), **settings
        ),
        "split: images and their splits": lambda: assign_splits(
            images, fractions=FRACTIONS, method="grouped", seed=1
        ),
        "augment: labels of a split": lambda: read_split(folder / "splits/train.csv"),
        "train: the index of the pack, per row": lambda: read_pack(folder / "pack"),
        "report: predictions of one model": lambda: read_predictions(predictions, model="one"),
    }.items():
        tracemalloc.start()
        result = work()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        n_images = len(result) if isinstance(result, dict) else N_LISTED
        print(json.dumps({"memory": what, "bytes_per_image": round(peak / n_images)}), flush=True)


def listed(path: Path) -> tuple[ZipTree, Source]:
    """List the files of an archive and find its layout."""
    tree = ZipTree(path)
    return tree, find_source(tree, layout="folder", task="single", where=str(path))


def take(images: np.ndarray, rows: np.ndarray) -> None:
    """Read images in batches, in a random order."""
    for batch in np.array_split(rows, len(rows) // 64):
        images[batch]


def batches(images: np.ndarray, rows: np.ndarray, draws: np.ndarray) -> None:
    """Make inputs from the pack, as training does."""
    for batch in np.array_split(rows, len(rows) // 64):
        augmented, _ = augment_rows(images, batch, batch, draws, policy=POLICY, size=SIZE)
        to_input(augmented, image_size=SIZE, normalize="imagenet", device=torch.device("cpu"))


def of_networks(encoded: list[bytes]) -> None:
    """Measure training steps and inference of networks at 224 pixels."""
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
        report(f"train: a step of {name}, bf16", TRAIN_BATCH_SIZE, training_step(network))


def training_step(network: torch.nn.Module) -> Callable[[], None]:
    """Make a function that runs one training step on a fixed batch."""
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    inputs = torch.rand(TRAIN_BATCH_SIZE, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(TRAIN_BATCH_SIZE)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def report(what: str, n_images: int, work: Callable[[], object]) -> None:
    """Measure the CPU time of `work`, and print images per second."""
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
