"""Random numbers that depend on what they are for, and on nothing else."""

import hashlib

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.seeding import generator, seed_torch

COUNTER = st.one_of(st.integers(1, 2**31), st.text(max_size=5))
COUNTERS = st.lists(COUNTER, max_size=3).map(tuple)


@given(st.integers(0, 2**40), COUNTERS)
def test_draws_repeat_whatever_was_drawn_before(seed, counters):
    first = generator(seed, *counters).random(4)
    generator(seed + 1, *counters).random(3)
    np.random.default_rng(seed).random(2)
    np.testing.assert_array_equal(generator(seed, *counters).random(4), first)


@given(st.integers(0, 2**31), COUNTERS, COUNTERS)
def test_other_counters_give_other_draws(seed, counters, others):
    same = counters == others
    assert (generator(seed, *counters).random() == generator(seed, *others).random()) == same


def test_a_name_counts_by_its_sha256_so_no_process_draws_anything_else():
    number = int.from_bytes(hashlib.sha256(b"a/1.png").digest()[:8], "little")
    expected = np.random.default_rng([7, number, 3]).random()
    assert generator(7, "a/1.png", 3).random() == expected


def test_torch_is_seeded_in_the_same_way():
    seed_torch(1, "dropout", 2)
    first = torch.rand(4)
    torch.rand(9)
    seed_torch(1, "dropout", 2)
    assert torch.equal(torch.rand(4), first)
    seed_torch(1, "dropout", 3)
    assert not torch.equal(torch.rand(4), first)
