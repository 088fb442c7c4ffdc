"""Seed random number generators."""

import hashlib

import numpy as np


def generator(seed: int, *counters: int | str) -> np.random.Generator:
    """Make a generator whose numbers depend only on `seed` and `counters`.

    So the numbers of an image (its id is a counter), an epoch or a fold do not depend on earlier
    random numbers, on the order of images, or on the number of processes.
    """
    return np.random.default_rng([seed, *(_number(counter) for counter in counters)])


def seed_torch(seed: int, *counters: int | str) -> None:
    """Seed torch's own generators (initial weights, dropout) in the same way."""
    import torch  # noqa: PLC0415 - heavy, and the data stages do without it

    torch.manual_seed(int(generator(seed, *counters).integers(2**63)))


def _number(counter: int | str) -> int:
    if isinstance(counter, int):
        return counter
    return int.from_bytes(hashlib.sha256(counter.encode()).digest()[:8], "little")
