"""Alternatives for the same work: a plain loop with Pillow, or a common library."""

import hashlib
import logging
import multiprocessing
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from skmultilearn.model_selection import IterativeStratification
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2


def decode_all(folder: Path) -> int:
    """Decode all images to RGB in a loop."""
    n_pixels = 0
    for path in sorted(folder.rglob("*.jpg")):
        image = Image.open(path).convert("RGB")
        n_pixels += np.asarray(image).size
    return n_pixels


def ingest_all(folder: Path, out: Path) -> None:
    """Decode and hash all images, and write them to a Parquet file."""
    writer: pq.ParquetWriter | None = None
    rows: list[dict] = []

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist(rows)
        writer = writer or pq.ParquetWriter(out / "images.parquet", table.schema)
        writer.write_table(table)
        rows.clear()

    for path in sorted(folder.rglob("*.jpg")):
        encoded = path.read_bytes()
        image = Image.open(path).convert("RGB")
        rows.append(
            {
                "id": path.relative_to(folder).as_posix(),
                "label": path.parent.name,
                "image": {"bytes": encoded, "path": path.name},
                "width": image.width,
                "height": image.height,
                "sha256": hashlib.sha256(image.tobytes()).hexdigest(),
                "perceptual_hash": str(imagehash.phash(image)),
            }
        )
        if len(rows) == 4000:
            flush()
    if rows:
        flush()
    if writer:
        writer.close()


def map_in_processes(
    function: Callable[[Any], Any], items: Sequence[Any], *, chunksize: int
) -> None:
    """Apply a function in a process pool."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(mp_context=context) as pool:
        assert sum(1 for _ in pool.map(function, items, chunksize=chunksize)) == len(items)


def map_with_ray_data(function: Callable[[Any], Any], items: Sequence[Any]) -> None:
    """Apply a function with Ray Data, in order, with all items in its object store."""
    import ray.data  # noqa: PLC0415 - slow to import, and optional

    kind = type(items[0])

    def apply(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = np.empty(len(batch["content"]), dtype=object)
        results[:] = [function(kind(content, None)) for content in batch["content"]]
        return {"result": results}

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    # A named tuple would become an array.
    contents = [{"content": item.content} for item in items]
    mapped = ray.data.from_items(contents).map_batches(apply, batch_size=32)
    assert sum(1 for _ in mapped.iter_rows()) == len(items)


def near_pairs(hashes: list[str], *, distance: int) -> int:
    """Compare all pairs of hashes, one row at a time."""
    words = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    n_pairs = 0
    for i, word in enumerate(words):
        n_pairs += int((np.bitwise_count(words[i + 1 :] ^ word) <= distance).sum())
    return n_pairs


def stratify(labels: np.ndarray, fractions: list[float]) -> None:
    """Split rows of labels with scikit-multilearn, which does not support groups."""
    splitter = IterativeStratification(
        len(fractions), order=1, sample_distribution_per_fold=fractions
    )
    list(splitter.split(np.zeros((len(labels), 1)), labels))


def augment_all(
    folder: Path, out: Path, *, rotate: float, scale: tuple[float, float], storage: str
) -> None:
    """Make eight variants of every image, in one uint8 array or in JPEG files."""
    draw = random.Random(1)
    files = sorted(folder.rglob("*.jpg"))
    size = Image.open(files[0]).size[0]
    shape = (len(files) * 8, size, size, 3)
    if storage == "raw":
        pack = np.lib.format.open_memmap(out / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    row = 0
    for path in files:
        image = Image.open(path).convert("RGB")
        flips = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        flips += [flipped.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for flipped in flips]
        for flipped in flips:
            degrees, factor = draw.uniform(-rotate, rotate), draw.uniform(*scale)
            warped = flipped.rotate(degrees, Image.Resampling.BILINEAR)
            side = round(size * factor)
            shrunk = warped.resize((side, side), Image.Resampling.BILINEAR)
            canvas = Image.new("RGB", image.size)
            canvas.paste(shrunk, ((size - side) // 2,) * 2)
            for variant in (flipped, canvas):
                if storage == "raw":
                    pack[row] = np.asarray(variant)
                else:
                    variant.save(out / f"{row}.jpg", quality=95)
                row += 1


def warp_pictures(images: np.ndarray, *, rotate: float, scale: tuple[float, float]) -> None:
    """Flip, rotate and scale each image with Pillow in a loop."""
    draw = random.Random(1)
    for pixels in images:
        image = Image.fromarray(pixels)
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image = image.rotate(draw.uniform(-rotate, rotate), Image.Resampling.BILINEAR)
        side = round(image.width * draw.uniform(*scale))
        shrunk = image.resize((side, side), Image.Resampling.BILINEAR)
        canvas = Image.new("RGB", image.size)
        canvas.paste(shrunk, ((image.width - side) // 2,) * 2)
        np.asarray(canvas)


def warp_with_torchvision(images: np.ndarray, *, rotate: float, scale: tuple[float, float]) -> None:
    """Flip, rotate and scale each image with torchvision's transforms v2 on Pillow images."""
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(rotate, scale=scale, interpolation=v2.InterpolationMode.BILINEAR),
        ]
    )
    for pixels in images:
        np.asarray(transform(Image.fromarray(pixels)))


def warp_with_albumentations(
    images: np.ndarray, *, rotate: float, scale: tuple[float, float]
) -> None:
    """Flip, rotate and scale each image with albumentations, which is no dependency of ours."""
    import albumentations  # type: ignore[import-not-found]  # noqa: PLC0415

    transform = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(rotate=(-rotate, rotate), scale=scale, p=1.0),
        ]
    )
    for pixels in images:
        transform(image=pixels)


def train_from_folder(
    folder: Path,
    *,
    batch_size: int,
    step: Callable[[Tensor, Tensor], None],
    device: torch.device,
) -> None:
    """Train for one epoch from files, padded, cropped and flipped like torchvision's examples."""
    transform = v2.Compose(
        [
            v2.RandomCrop(64, padding=8, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    images = ImageFolder(folder, transform)
    for inputs, labels in DataLoader(images, batch_size, shuffle=True):
        moved = inputs.to(device, memory_format=torch.channels_last)
        step(moved, labels.to(device))


def compute_features(
    images: np.ndarray, network: torch.nn.Module, *, batch_size: int, device: torch.device
) -> np.ndarray:
    """Compute the features of images as in timm's documentation."""
    network.eval()
    features = []
    for start in range(0, len(images), batch_size):
        batch = torch.from_numpy(images[start : start + batch_size]).permute(0, 3, 1, 2)
        inputs = batch.to(device).float().div(255).sub(0.5).div(0.5).contiguous()
        with torch.no_grad():
            features.append(network(inputs).cpu().numpy())
    return np.concatenate(features)
