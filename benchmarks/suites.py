"""The benchmarks: what is compared with what."""

import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F

import alternatives
from classifold.augmentation.offline import write_packs
from classifold.augmentation.online.batches import augment_arrays, epoch_draws
from classifold.augmentation.online.policy import draw_plan
from classifold.data.pack import Pack, read_pack
from classifold.filtering.duplicates import near_groups
from classifold.ingest.detection import find_source
from classifold.ingest.ingestion import Read, decode_read, ingest
from classifold.ingest.tree import FolderTree
from classifold.models.device import choose_device, choose_precision
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import batch_size_of
from classifold.models.model_file import build_network
from classifold.networks.small_resnet import build
from classifold.runtime.parallel import MIN_ITEMS_FOR_PROCESSES, ordered_map
from classifold.splitting.stratified import stratify
from classifold.training.batches import epoch_batches
from classifold.training.images import TrainingImages
from comparison import Benchmark, Options, Ratio, compare, replace_table, table
from epochs import epoch_benchmarks
from pipeline import pipeline_benchmarks
from serving import serve_benchmarks
from synthetic import make_hashes, make_labels, make_photos

FRACTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}

AUGMENTATION = {
    "flips": ["none", "horizontal", "vertical", "both"],
    "warped": 1,
    "rotate": 15,
    "scale": [0.8, 1.0],
    "shear": 0,
    "shift": [0, 0],
    "fill": "reflect",
}

POLICY = {
    "fill": "reflect",
    "steps": [{"flip": "horizontal"}, {"rotate": 15}, {"scale": [0.8, 1.0]}],
}


def run(wanted: Sequence[str], options: Options, *, docs: Path | None) -> None:
    """Run the suites whose names contain one of the words, or all.

    Args:
        wanted: the words.
        options: see `Options`.
        docs: a page; the machine and the table of all ratios replace those in it.
    """
    ratios: list[Ratio] = []
    for name, make in SUITES.items():
        if not wanted or any(word in name for word in wanted):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                for made in make(root, options):
                    ratios.append(
                        made if isinstance(made, Ratio) else _measure(made, root, options)
                    )
                    print(ratios[-1], flush=True)
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    if docs:
        replace_table(docs, f"{describe_machine()}\n\n{table(ratios)}")


def _measure(benchmark: Benchmark, root: Path, options: Options) -> Ratio:
    return compare(benchmark._replace(rounds=1) if options.tiny else benchmark, root)


def describe_machine() -> str:
    """Describe when and on what the benchmarks ran."""
    date = time.strftime("%d %B %Y").lstrip("0")
    capabilities = torch.cpu.get_capabilities()
    has_bf16 = choose_precision("auto", torch.device("cpu")) == "bf16"
    return (
        f"{date}; {capabilities.get('cpu_name') or platform.processor()}, {os.cpu_count()} cores, "
        f"{'with' if has_bf16 else 'without'} bf16 instructions; Python "
        f"{platform.python_version()}, PyTorch {torch.__version__.partition('+')[0]}."
    )


def _ingest_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    n_images = options.few(8000)
    small = make_photos(root / "small", n_images=n_images, size=64)
    yield Benchmark(
        "P5 ingest, 64 px",
        "the same work in a Pillow loop, one process",
        "images",
        n_images,
        lambda out: _ingest(small, out),
        lambda out: alternatives.ingest_all(small, out),
        target=3,
    )
    yield Benchmark(
        "P5 ingest, 64 px",
        "a Pillow loop that only decodes, one process",
        "images",
        n_images,
        lambda out: _ingest(small, out),
        lambda _: alternatives.decode_all(small),
        target=1.2,
    )


def _duplicate_benchmarks(_: Path, options: Options) -> Iterator[Benchmark]:
    n_images = options.few(30_000)
    hashes = make_hashes(n_images)
    yield Benchmark(
        "near duplicates, distance 4",
        "all pairs with NumPy",
        "images",
        n_images,
        lambda _: near_groups(hashes, distance=4),
        lambda _: alternatives.near_pairs(hashes, distance=4),
    )


def _engine_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    """The overhead of the engine interface and of Ray, on the same images."""
    folder = make_photos(root / "photos", n_images=options.few(3000), size=128)
    reads = [Read(path.read_bytes(), None) for path in sorted(folder.rglob("*.jpg"))]
    decode = partial(decode_read, background=(255, 255, 255), ranges={})
    few = reads[: MIN_ITEMS_FOR_PROCESSES - 1]

    def run_on(engine: str, images: list[Read]) -> None:
        with _engine(engine):
            results = ordered_map(
                decode, images, n_items=len(images), n_bytes=lambda read: len(read.content)
            )
            assert sum(1 for _ in results) == len(images)

    name = "the engine interface, ingest's decoding, 128 px"
    yield Benchmark(
        f"{name}, one process",
        "a loop of direct calls",
        "images",
        len(few),
        lambda _: run_on("local", few),
        lambda _: sum(1 for _ in map(decode, few)),  # like ours, it keeps no image
    )
    yield Benchmark(
        f"{name}, processes",
        "ProcessPoolExecutor.map, chunks of 32",
        "images",
        len(reads),
        lambda _: run_on("local", reads),
        lambda _: alternatives.map_in_processes(decode, reads, chunksize=32),
    )
    if not importlib.util.find_spec("ray"):
        print("Ray on one node: Ray is not installed, skipped")
        return
    run_on("ray", reads)  # starts a node of this machine, with its processes
    yield Benchmark(
        f"{name}, Ray on one node",
        "local processes",
        "images",
        len(reads),
        lambda _: run_on("ray", reads),
        lambda _: run_on("local", reads),
    )
    yield Benchmark(
        f"{name}, Ray on one node",
        "Ray Data's from_items and map_batches on the same node",
        "images",
        len(reads),
        lambda _: run_on("ray", reads),
        lambda _: alternatives.map_with_ray_data(decode, reads),
    )


@contextmanager
def _engine(engine: str) -> Iterator[None]:
    before = os.environ.get("CLASSIFOLD_ENGINE")
    os.environ["CLASSIFOLD_ENGINE"] = engine
    try:
        yield
    finally:
        del os.environ["CLASSIFOLD_ENGINE"]
        if before is not None:
            os.environ["CLASSIFOLD_ENGINE"] = before


def _split_benchmarks(_: Path, options: Options) -> Iterator[Benchmark]:
    for n_images in (options.few(20_000, least=2000), options.few(200_000, least=4000)):
        matrix = make_labels(n_images)
        labels = [tuple(f"label{i}" for i in row.nonzero()[0]) for row in matrix]
        groups = [str(i) for i in range(n_images)]
        yield Benchmark(
            f"P8 split of {n_images:,} images, 14 labels",
            "scikit-multilearn",
            "images",
            n_images,
            lambda _, labels=labels, groups=groups: stratify(
                labels, groups, fractions=FRACTIONS, seed=1
            ),
            lambda _, matrix=matrix: alternatives.stratify(matrix, list(FRACTIONS.values())),
        )


def _augment_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    n_images = options.few(200)
    large = make_photos(root / "large", n_images=n_images, size=300)
    for storage, kept_as, target in (("raw", "a uint8 pack", 8.5), ("jpeg", "JPEG", 6.5)):
        yield Benchmark(
            f"P1 augment 8x offline to {kept_as}, 300 px",
            "a Pillow loop, one process",
            "images",
            n_images * 8,
            lambda out, storage=storage: _augment(large, out, storage=storage),
            lambda out, storage=storage: alternatives.augment_all(
                large, out, rotate=15, scale=(0.8, 1.0), storage=storage
            ),
            target=target,
        )


def _warp_benchmarks(_: Path, options: Options) -> Iterator[Benchmark]:
    cv2.setNumThreads(1)  # one thread each
    torch.set_num_threads(1)
    n_images = options.few(4096, least=64)
    images = np.random.default_rng(1).integers(0, 256, (n_images, 64, 64, 3), np.uint8)
    settings = {"rotate": 15, "scale": (0.8, 1.0)}
    known = [
        ("Pillow, one by one", alternatives.warp_pictures),
        ("torchvision v2 on Pillow images", alternatives.warp_with_torchvision),
    ]
    if importlib.util.find_spec("albumentations"):
        known.append(("albumentations", alternatives.warp_with_albumentations))
    for peer, theirs in known:
        yield Benchmark(
            "P2 flip, rotate, scale online, 64 px",
            peer,
            "images",
            n_images,
            lambda _: _augment_online(images),
            lambda _, theirs=theirs: theirs(images, **settings),
            target=6,
        )


def _train_benchmarks(root: Path, options: Options) -> Iterator[Benchmark]:
    torch.set_num_threads(2)
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    n_images, batch_size = options.few(2000), 100 if not options.tiny else 4
    folder = make_photos(root / "small", n_images=n_images, size=64)
    pack = _pack(folder, root / "packs")
    policy = {"fill": "reflect", "steps": [{"pad_crop": 0.125}, {"flip": "horizontal"}]}
    settings = {"batch_size": batch_size, "seed": 1, "epoch": 1, "image_size": 64}
    settings["normalize"] = "half"
    stored = TrainingImages(pack, policy=policy, image_size=64, device=device)
    step = _steps(device, precision=precision)

    def epoch(_: Path) -> None:
        for batch in epoch_batches(stored, **settings):
            step(batch.inputs, batch.targets)

    ready = next(epoch_batches(stored, **settings))

    def bare(_: Path) -> None:
        for _ in range(n_images // batch_size):
            step(ready.inputs, ready.targets)

    where = f"{device.type}, {precision}"
    yield Benchmark(
        f"{'P7' if device.type == 'cuda' else 'P3'} an epoch of small_resnet, 64 px, {where}",
        "the same steps on ready tensors",
        "images",
        n_images,
        epoch,
        bare,
        target=1.02,
        of_times=True,
    )
    yield Benchmark(
        f"P3 an epoch of small_resnet, 64 px, {where}",
        "ImageFolder and DataLoader",
        "images",
        n_images,
        epoch,
        lambda _: alternatives.train_from_folder(
            folder, batch_size=batch_size, step=step, device=device
        ),
        target=2,
    )
    if precision == "fp32":
        print("P4 bf16: this processor has no instructions for it, skipped")
        return
    plain = _steps(device, precision="fp32", memory_format=torch.contiguous_format)
    inputs = ready.inputs.contiguous()

    def plainly(_: Path) -> None:
        for _ in range(n_images // batch_size):
            plain(inputs, ready.targets)

    yield Benchmark(
        f"P4 steps in bf16 and channels_last, {device.type}",
        "in plain fp32",
        "images",
        n_images,
        bare,
        plainly,
        target=1.5,
    )


def _feature_benchmarks(_: Path, options: Options) -> Iterator[Benchmark]:
    torch.set_num_threads(2)
    # `choose_device` would change how the C library manages memory, for the plain loop too.
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name, size, n_images = "tf_efficientnet_lite0", 224, options.few(128)
    images = np.random.default_rng(1).integers(0, 256, (n_images, size, size, 3), np.uint8)
    network = build_network("timm", n_classes=2, image_size=size, arguments={"name": name})
    plain = timm.create_model(name, num_classes=0).to(device)

    def features(out: Path, *, precision: str) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            FeatureCache(out).features(
                network.to(device), images, image_size=size, normalize="half", device=device
            )

    for precision in dict.fromkeys(["fp32", choose_precision("auto", device)]):
        # A usual batch, and ours, which needs less memory.
        for batch_size in dict.fromkeys([64, batch_size_of(size, device)]):
            plainly = partial(alternatives.compute_features, batch_size=batch_size, device=device)
            yield Benchmark(
                f"P9 features of a frozen {name}, {size} px, {device.type}, {precision}",
                f"a plain loop over timm's network, fp32, batches of {batch_size}",
                "images",
                n_images,
                partial(features, precision=precision),
                lambda _, plainly=plainly: plainly(images, plain),
                target=1.3 if precision == "fp32" else 2,
            )


def _pack(folder: Path, out: Path) -> Pack:
    """Pack the images of a folder without augmentation."""
    files = sorted(folder.rglob("*.jpg"))
    encoded = [(str(path), path.read_bytes()) for path in files]
    labels = {"train": {str(path): [path.parent.name] for path in files}, "validation": {}}
    untouched = AUGMENTATION | {"flips": ["none"], "warped": 0}
    settings = {"size": 64, "resize": "lanczos", "storage": "raw", "seed": 1, "task": "single"}
    write_packs({"train": encoded, "validation": []}, labels, out, **settings, **untouched)
    return read_pack(out / "train")


def _steps(
    device: torch.device,
    *,
    precision: str,
    memory_format: torch.memory_format = torch.channels_last,
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Make a function that trains a network by one batch."""
    network = build(2, image_size=64, widths=[16, 32, 64], depth=1, stem_stride=2, dropout=0.0)
    network = network.to(device, memory_format=memory_format)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = network(inputs)
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


# Features first: other suites change how memory is managed, which the plain loop would profit from.
SUITES: dict[str, Callable[[Path, Options], Iterator[Benchmark | Ratio]]] = {
    "features": _feature_benchmarks,
    "train": _train_benchmarks,
    "epochs": epoch_benchmarks,
    "warp": _warp_benchmarks,
    "ingest": _ingest_benchmarks,
    "engine": _engine_benchmarks,
    "duplicates": _duplicate_benchmarks,
    "split": _split_benchmarks,
    "augment": _augment_benchmarks,
    "serve": serve_benchmarks,
    "pipeline": pipeline_benchmarks,
}


def _ingest(folder: Path, out: Path) -> None:
    tree = FolderTree(folder)
    source = find_source(tree, layout="folder", task="single", where=str(folder))
    ingest(
        tree, source, out, background=(255, 255, 255), max_unreadable={"fraction": 0, "count": 0}
    )


def _augment(folder: Path, out: Path, *, storage: str) -> None:
    files = sorted(folder.rglob("*.jpg"))
    encoded = [(str(path), path.read_bytes()) for path in files]
    labels = {"train": {name: ["class"] for name, _ in encoded}, "validation": {}}
    images = {"train": encoded, "validation": []}
    settings = {"size": 300, "resize": "lanczos", "storage": storage, "seed": 1, "task": "single"}
    write_packs(images, labels, out, **settings, **AUGMENTATION)


def _augment_online(images: np.ndarray) -> None:
    draws = epoch_draws(POLICY, n_images=len(images), seed=1, epoch=1)
    for rows in np.array_split(np.arange(len(images)), len(images) // 64):
        plan = draw_plan(POLICY["steps"], draws[rows], size=64, n_in_pack=len(images))
        augment_arrays(images[rows], plan, fill="reflect")
