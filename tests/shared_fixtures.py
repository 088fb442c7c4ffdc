"""Synthetic images for all tests, one thread per process, and the settings of hypothesis."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from lightning_fabric.utilities import registry
from PIL import Image
from threadpoolctl import ThreadpoolController

from archives import write_files
from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.training_images import (
    TrainingImages,
    as_stored,
    save_training_images,
)
from classifold.data.image_table import iter_columns
from classifold.data.json_file import write_json
from classifold.data.orientation import ORIENTATION_TAG
from classifold.data.pack import Pack, new_pack
from classifold.data.pixels import load_pixels
from classifold.data.seeding import seed_torch
from classifold.models.explained_model import copy_explained_model
from classifold.models.model_file import build_network, load_model, save_model
from classifold.stacking.ensemble import fit_ensemble, save_ensemble
from classifold.training.machine import set_up
from image_scene import pillow
from ingested import ingest_all
from parsed_once import parse_yaml_once
from tiny_model import STACK

settings.register_profile(
    "project",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

# Lightning searches all installed packages for its plugins whenever a training begins.
registry.entry_points = functools.cache(registry.entry_points)

# PyTorch keeps a stack trace per seed for each kind of device that is not there.
if not torch.accelerator.is_available():
    for kind in (torch.cuda, torch.xpu, torch.mtia):
        kind.manual_seed_all = lambda seed: None

parse_yaml_once()  # most files of params are equal

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

COLORS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [190, 190, 30]])


@pytest.fixture(scope="session")
def thread_pools():
    """The thread pools of all imported libraries; finding them takes milliseconds."""
    return ThreadpoolController()


@pytest.fixture(autouse=True)
def one_thread(thread_pools):
    """One thread is fastest for tiny networks, and sums are repeatable."""
    torch.set_num_threads(1)
    with thread_pools.limit(limits=1):
        yield


@pytest.fixture
def encode():
    """An image (array or Pillow's) as the bytes of a file."""
    return pillow


def noisy_pack(n_images=32, *, n_classes=3, size=8, seed=0):
    """A pack of noisy squares, one color per class."""
    random = np.random.default_rng(seed)
    labels = np.arange(n_images, dtype=np.int64) % n_classes
    noise = random.normal(0, 25, (n_images, size, size, 3))
    images = np.clip(COLORS[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
    return Pack(
        images=images,
        labels=labels,
        ids=[f"{i:03}" for i in range(n_images)],
        variants=np.zeros(n_images, np.int32),
        transformations=["none"] * n_images,
        task="single",
        classes=[f"class{i}" for i in range(n_classes)],
        size=size,
        resize="box",
    )


def with_variants(pack, n_variants=2):
    """The pack with augmented variants (here: as they are) after each original."""
    rows = np.repeat(np.arange(len(pack.labels)), 1 + n_variants)
    variants = np.tile(np.arange(1 + n_variants, dtype=np.int32), len(pack.labels))
    return pack.subset(rows)._replace(variants=variants)


@pytest.fixture
def draw_pack():
    return noisy_pack


@pytest.fixture
def write_packs(draw_pack):
    """Packs of synthetic images, as `augment` writes them; groups follow one another."""

    def write(folder, *, seed=0, group_size=1, storage="raw", **n_images):
        for split, n in n_images.items():
            drawn = draw_pack(n, seed=seed)
            settings = {"size": 8, "resize": "box", "classes": drawn.classes, "storage": storage}
            with new_pack(folder / split, n_images=n, **settings) as pack:
                pack.put(0, list(drawn.images))
                for row, (image_id, label) in enumerate(zip(drawn.ids, drawn.labels, strict=True)):
                    described = {"labels": [drawn.classes[label]], "group": str(row // group_size)}
                    pack.describe(image_id=image_id, variant=0, transformation="none", **described)
        return folder

    return write


@pytest.fixture
def draw_multi_pack(draw_pack):
    """Noisy images of three columns, each in its color or black: any number of labels."""

    def draw(n_images=32, *, seed=0):
        labels = np.arange(n_images)[:, None] // [1, 2, 4] % 2  # 000, 100, 010, 110, 001, ...
        pack = draw_pack(n_images, size=9, seed=seed)
        colors = COLORS[:3] * labels[:, :, None]  # (N, columns, 3)
        noise = np.random.default_rng(seed).normal(0, 25, pack.images.shape)
        images = np.repeat(colors, 3, axis=1)[:, None] + noise
        return pack._replace(
            images=np.clip(images, 0, 255).astype(np.uint8),
            labels=labels.astype(np.uint8),
            task="multi",
        )

    return draw


@pytest.fixture
def machine():
    """The CPU, in fp32."""
    return set_up(device=torch.device("cpu"), precision="fp32")


@pytest.fixture
def tiny_mlp():
    """A network of one hidden layer; `seed` is that of its weights."""

    def build(*, image_size=8, dropout=0.0, seed=1):
        seed_torch(seed, "weights")
        arguments = {"hidden": [16], "dropout": dropout}
        return build_network("mlp", n_classes=3, image_size=image_size, arguments=arguments)

    return build


ROOT = Path(__file__).parents[1]
MEMBERS = {  # 33 and 11 numbers per row: most rows are not aligned with registers
    "flat": {"network": "mlp", "arguments": {"hidden": [33, 11]}, "image_size": 10},
    "deep": {
        "network": "small_resnet",
        "arguments": {"widths": [8, 12], "depth": 1, "stem_stride": 2},
        "image_size": 16,
    },
}


@pytest.fixture
def odd_images(encode):
    """Files of several kinds, by their names below `cat/`, `dog/`, `owl/` and `unlabelled/`."""
    random = np.random.default_rng(5)

    def noise(*shape):
        return random.integers(0, 256, shape, np.uint8)

    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    return {
        "cat/photo.jpg": encode(noise(20, 30, 3), "JPEG"),
        "cat/turned.jpg": encode(noise(20, 30, 3), "JPEG", exif=exif),
        "dog/gray.png": encode(noise(14, 14)),
        "dog/alpha.png": encode(noise(9, 12, 4)),
        "owl/palette.gif": encode(Image.fromarray(noise(16, 16, 3)).quantize(16), "GIF"),
        "owl/deep.png": encode(Image.fromarray(noise(12, 12).astype(np.uint16) * 257)),
        "unlabelled/cmyk.jpg": encode(Image.fromarray(noise(40, 40, 4), "CMYK"), "JPEG"),
        "unlabelled/small.png": encode(noise(12, 12, 3)),
    }


@pytest.fixture
def project(tmp_path, odd_images):
    """A project with an image table, two trained models and an ensemble."""

    def train(task="single", *, method="dense", classes=("cat", "dog", "owl"), resize="lanczos"):
        root = tmp_path / "project"
        write_files(root / "source", odd_images)
        shutil.copy(ROOT / "params.yaml", root)
        ingest_all(root / "source", root / "data/ingested", layout="folder", fraction=0)
        random = np.random.default_rng(3)
        decision = {"temperature": 1.7}
        labels = random.permutation(np.arange(60) % len(classes))
        if task == "multi":
            decision |= {"threshold": 0.45, "thresholds": [0.4] * len(classes)}
            labels = (random.random((60, len(classes))) < 0.4).astype(np.int64)
        for name, member in MEMBERS.items():
            seed_torch(4, name)
            folder = root / "models" / name
            folder.mkdir(parents=True)
            network = build_network(**member, n_classes=len(classes))
            preprocessing = {"pack_size": 16, "resize": resize, "normalize": "half"}
            save_model(
                folder,
                network,
                network=member["network"],
                arguments=member["arguments"],
                classes=classes,
                preprocessing=preprocessing | {"image_size": member["image_size"]},
                training={"threads": 1, "task": task},
            )
        logits = {name: random.normal(0, 2, (60, len(classes))) for name in MEMBERS}
        fitted = fit_ensemble(logits, labels, method=method, settings=STACK, seed=1)
        (root / "ensemble").mkdir()
        save_ensemble(root / "ensemble", fitted.ensemble)
        write_json(root / "ensemble/decision.json", decision | {"temperature": 1.3})
        decisions = {
            "task": task,
            "classes": list(classes),
            "class_proportions": dict.fromkeys(classes, 1 / len(classes)),
            "models": dict.fromkeys(MEMBERS, decision),
        }
        write_json(root / "data/compared/decisions.json", decisions)
        return root

    return train


@pytest.fixture
def keep_training_images():
    """Write what the stages `compare` and `novelty` leave, for the labeled images of `project`."""

    def write(root, *, model="deep", threshold=0.1):
        explained, novelty = root / "data/explained_model", root / "data/novelty"
        for folder in (explained, novelty):
            folder.mkdir(exist_ok=True)
        copy_explained_model(explained, model, models=root / "models")
        rows = iter_columns(root / "data/ingested", ["id", "labels"])
        labels = {row["id"]: row["labels"][0] for row in rows if row["labels"]}
        pixels = load_pixels(root / "data/ingested", list(labels), size=16, resize="lanczos")
        features = compute_features(load_model(explained), pixels, device=torch.device("cpu"))
        ids, names = list(labels), list(labels.values())
        images = TrainingImages(model, as_stored(features), ids, names, threshold, len(ids))
        save_training_images(novelty, images)
        return images, features

    return write


@pytest.fixture(scope="session")
def keep_screenshot():
    """Keep the picture of a page for review, below the project if that can be written."""
    folder = ROOT / ".screenshots"

    def keep(page, name):
        if os.access(ROOT, os.W_OK):
            page.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep


@pytest.fixture(scope="session")
def browser():
    """Chromium, or a skipped test where there is none."""
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - slow to import

    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root one
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(executable_path=executable, args=sandbox)
        except Error as error:
            pytest.skip(f"no Chromium to open pages in: {error.message.splitlines()[0]}")
        yield opened
        opened.close()
