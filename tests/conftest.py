"""Drawn images for all tests, the one thread they compute with, and how hypothesis searches."""

import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from threadpoolctl import threadpool_limits

from classifold.model_file import build_network
from classifold.pack import Pack, new_pack
from classifold.seeding import seed_torch
from classifold.training.machine import set_up

settings.register_profile(
    "project",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [190, 190, 30]])


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny networks are quickest so, on a busy machine above all; and sums repeat."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture
def encode():
    """An image (array or Pillow's) as the bytes of a file."""

    def to_bytes(image, file_format="PNG", **options):
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        buffer = io.BytesIO()
        image.save(buffer, file_format, **options)
        return buffer.getvalue()

    return to_bytes


@pytest.fixture
def draw_pack():
    """Noisy squares of one colour a class, as a pack."""

    def draw(n_images=32, *, n_classes=3, size=8, seed=0):
        random = np.random.default_rng(seed)
        labels = np.arange(n_images, dtype=np.int64) % n_classes
        noise = random.normal(0, 25, (n_images, size, size, 3))
        images = np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
        return Pack(
            images=images,
            labels=labels,
            ids=[f"{i:03}" for i in range(n_images)],
            copies=np.zeros(n_images, np.int32),
            transformations=["none"] * n_images,
            task="single",
            classes=[f"class{i}" for i in range(n_classes)],
            size=size,
            resize="box",
        )

    return draw


@pytest.fixture
def write_packs(draw_pack):
    """The packs of drawn images, as `augment` leaves them."""

    def write(folder, **n_images):
        for part, n in n_images.items():
            drawn = draw_pack(n)
            with new_pack(
                folder / part, n_images=n, size=8, resize="box", classes=drawn.classes
            ) as pack:
                pack.put(0, list(drawn.images))
                for image_id, label in zip(drawn.ids, drawn.labels, strict=True):
                    name = drawn.classes[label]
                    pack.describe(image_id=image_id, copy=0, transformation="none", labels=[name])
        return folder

    return write


@pytest.fixture
def draw_multi_pack(draw_pack):
    """Noisy images of three columns, each of its colour or black: of any number of labels."""

    def draw(n_images=32, *, seed=0):
        labels = np.arange(n_images)[:, None] // [1, 2, 4] % 2  # 000, 100, 010, 110, 001, ...
        pack = draw_pack(n_images, size=9, seed=seed)
        colours = COLOURS[:3] * labels[:, :, None]  # (N, columns, 3)
        noise = np.random.default_rng(seed).normal(0, 25, pack.images.shape)
        images = np.repeat(colours, 3, axis=1)[:, None] + noise
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
    """A network of one hidden layer for images of 8 pixels, or more; `seed` is of its weights."""

    def build(*, image_size=8, dropout=0.0, seed=1):
        seed_torch(seed, "weights")
        return build_network(
            "mlp",
            n_classes=3,
            image_size=image_size,
            arguments={"hidden": [16], "dropout": dropout},
        )

    return build
