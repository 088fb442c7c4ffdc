"""Sample images from a generator."""

import numpy as np
import torch

from classifold.data.pack import Pack
from classifold.data.seeding import generator as random_numbers
from classifold.gan.generator import Generator

# The last batch is padded to this size, because the last bits of a sum depend on it.
BATCH_SIZE = 64

UNCONDITIONAL_CLASS = "generated"


def sample_noise(generator: Generator, n_images: int, *, seed: int) -> np.ndarray:
    """Sample the generator's input: float32 (n_images, noise), normally distributed."""
    draws = random_numbers(seed, "noise")
    return draws.standard_normal((n_images, generator.noise), dtype=np.float32)


def generate(
    generator: Generator, noise: np.ndarray, labels: np.ndarray, *, device: torch.device
) -> np.ndarray:
    """Generate images, in fp32 and evaluation mode.

    Args:
        generator: on `device`.
        noise: float32 (N, noise).
        labels: the classes to generate, int64 (N,).
        device: to compute on.

    Returns:
        uint8 array (N, H, W, 3).
    """
    size = generator.image_size
    images = np.empty((len(labels), size, size, 3), np.uint8)
    was_training = generator.training
    generator.eval()
    with torch.inference_mode():
        for start in range(0, len(labels), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            n_images = len(labels[rows])
            padding = BATCH_SIZE - n_images
            batch = (
                np.pad(noise[rows], ((0, padding), (0, 0))),
                np.pad(labels[rows], (0, padding), mode="edge"),
            )
            generated = generator(*(torch.from_numpy(array).to(device) for array in batch))
            levels = ((generated[:n_images] + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
            images[rows] = levels.permute(0, 2, 3, 1).cpu().numpy()
    generator.train(was_training)
    return images


def sample_labels(labels: np.ndarray, n_images: int, *, seed: int) -> np.ndarray:
    """Sample classes with the proportions of `labels`.

    Every prefix of the sample has nearly these proportions.

    Args:
        labels: int64 (N,).
        n_images: size of the sample.
        seed: seed of the sample.

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
    """Generate images with the class proportions of a pack.

    Args:
        generator: on `device`.
        like: the images that the generator was trained on, or others of their classes.
        n_images: number of images.
        seed: seed of noise and classes.
        device: to compute on.

    Returns:
        Images in memory. Those of an unconditional generator all have the class `generated`.
    """
    is_conditional = generator.embedding is not None
    labels = (
        sample_labels(like.labels, n_images, seed=seed)
        if is_conditional
        else np.zeros(n_images, int)
    )
    images = generate(
        generator, sample_noise(generator, n_images, seed=seed), labels, device=device
    )
    return Pack(
        images=images,
        labels=labels,
        ids=[f"generated/{i:06}" for i in range(n_images)],
        variants=np.zeros(n_images, np.int32),
        transformations=["generated"] * n_images,
        task="single",
        classes=like.classes if is_conditional else [UNCONDITIONAL_CLASS],
        size=like.size,
        resize=like.resize,
    )
