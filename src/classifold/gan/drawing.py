"""Images drawn by a generator."""

import numpy as np
import torch

from classifold.data.pack import Pack
from classifold.data.seeding import generator as random_numbers
from classifold.gan.generator import Generator

# One batch size for all, the last batch padded: the last bits of a sum depend on it.
BATCH_SIZE = 64

NO_CLASS = "generated"


def draw_noise(generator: Generator, n_images: int, *, seed: int) -> np.ndarray:
    """Draw what images are made of: float32 (n_images, noise), normally distributed."""
    draws = random_numbers(seed, "noise")
    return draws.standard_normal((n_images, generator.noise), dtype=np.float32)


def generate(
    generator: Generator, noise: np.ndarray, labels: np.ndarray, *, device: torch.device
) -> np.ndarray:
    """Make images, in fp32 and evaluation mode.

    Args:
        generator: on `device`.
        noise: float32 (N, noise).
        labels: classes that are asked for, int64 (N,).
        device: where to compute.

    Returns:
        uint8 array (N, H, W, 3).
    """
    size = generator.image_size
    images = np.empty((len(labels), size, size, 3), np.uint8)
    was_training = generator.training
    generator.eval()
    with torch.inference_mode():
        for start in range(0, len(labels), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            n_images = len(labels[part])
            padding = BATCH_SIZE - n_images
            batch = (
                np.pad(noise[part], ((0, padding), (0, 0))),
                np.pad(labels[part], (0, padding), mode="edge"),
            )
            made = generator(*(torch.from_numpy(array).to(device) for array in batch))
            levels = ((made[:n_images] + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
            images[part] = levels.permute(0, 2, 3, 1).cpu().numpy()
    generator.train(was_training)
    return images


def like_labels(labels: np.ndarray, n_images: int, *, seed: int) -> np.ndarray:
    """Draw classes in the shares in which they stand in `labels`.

    Every beginning of what is drawn has nearly these shares.

    Args:
        labels: int64 (N,).
        n_images: how many are drawn.
        seed: of the draws.

    Returns:
        int64 array (n_images,).
    """
    return np.resize(random_numbers(seed, "labels").permutation(labels), n_images)


def generated_pack(
    generator: Generator,
    like: Pack,
    n_images: int,
    *,
    seed: int,
    device: torch.device,
) -> Pack:
    """Make images of the classes of a pack, in its shares.

    Args:
        generator: on `device`.
        like: the images that it was trained on, or others of their classes.
        n_images: how many are made.
        seed: of noise and classes.
        device: where to compute.

    Returns:
        Images in memory. Of a generator that is not asked for classes all are of one,
        `generated`.
    """
    asked = generator.embedding is not None
    labels = like_labels(like.labels, n_images, seed=seed) if asked else np.zeros(n_images, int)
    images = generate(generator, draw_noise(generator, n_images, seed=seed), labels, device=device)
    return Pack(
        images=images,
        labels=labels,
        ids=[f"generated/{i:06}" for i in range(n_images)],
        variants=np.zeros(n_images, np.int32),
        transformations=["generated"] * n_images,
        task="single",
        classes=like.classes if asked else [NO_CLASS],
        size=like.size,
        resize=like.resize,
    )
