"""Groups of images that are copies of one another."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 64
BANDS = 4
BITS_A_BAND = BITS // BANDS
BUCKETS = 2**BITS_A_BAND

PAIRS_AT_ONCE = 4_000_000


def equal_groups(values: Sequence[Hashable]) -> list[list[int]]:
    """Group the positions of equal values.

    Args:
        values: such as a hash of the pixels for each image.

    Returns:
        Groups of two or more positions, each ascending, in order of their first.
    """
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for position, value in enumerate(values):
        positions[value].append(position)
    return [group for group in positions.values() if len(group) > 1]


def near_groups(hashes: Sequence[str], *, distance: int) -> list[list[int]]:
    """Group the positions of hashes that are near, or linked by others that are.

    Two hashes that differ in at most `distance` of their 64 bits differ in at most
    `distance // 4` bits of one of their four bands of 16, so only images in such neighbouring
    buckets of a band are compared: no pair is missed, and time does not grow with the square
    of the number of images, unless most of them look the same.

    Args:
        hashes: 16 hexadecimal digits for each image.
        distance: of two near hashes, in bits, 0 to 12.

    Returns:
        Groups of two or more positions, each ascending, in order of their first.

    Source: Norouzi, Punjani, Fleet 2012, "Fast Search in Hamming Space with Multi-Index
    Hashing".
    """
    words = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    unique, inverse = np.unique(words, return_inverse=True)
    component = np.arange(len(unique))
    for first, second in _near_pairs(unique, distance):
        component = _merge(component, first, second)
    return equal_groups(component[inverse].tolist())


def bits_apart(one: str, other: str) -> int:
    """Count the bits in which two hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def linked(groups: Sequence[Sequence[int]], n_images: int) -> list[list[int]]:
    """Unite groups that share members.

    Args:
        groups: positions in [0, n_images).
        n_images: how many images there are.

    Returns:
        Groups of two or more positions, each ascending, in order of their first.
    """
    first = [group[0] for group in groups for _ in group]
    second = [position for group in groups for position in group]
    component = _merge(np.arange(n_images), np.array(first, int), np.array(second, int))
    return equal_groups(component.tolist())


def _merge(component: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Unite the components of each pair of positions."""
    n = len(component)
    if len(first) == 0:
        return component
    links = coo_array(
        (np.ones(len(first), dtype=bool), (component[first], component[second])), shape=(n, n)
    )
    return connected_components(links, directed=False)[1][component]


def _near_pairs(words: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs of different words at most `distance` bits apart, some of them twice."""
    n_flips = distance // BANDS
    masks = [
        sum(1 << bit for bit in bits)
        for n_bits in range(n_flips + 1)
        for bits in combinations(range(BITS_A_BAND), n_bits)
    ]
    for band in range(BANDS):
        keys = ((words >> np.uint64(band * BITS_A_BAND)) & np.uint64(BUCKETS - 1)).astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(BUCKETS + 1))
        for mask in masks:
            neighbours = keys ^ mask
            n_in_bucket = starts[neighbours + 1] - starts[neighbours]
            for chunk in _chunks(n_in_bucket):
                first = np.repeat(chunk, n_in_bucket[chunk])
                ends = np.cumsum(n_in_bucket[chunk])
                within = np.arange(len(first)) - np.repeat(
                    ends - n_in_bucket[chunk], n_in_bucket[chunk]
                )
                second = order[np.repeat(starts[neighbours[chunk]], n_in_bucket[chunk]) + within]
                once = first < second
                first, second = first[once], second[once]
                near = np.bitwise_count(words[first] ^ words[second]) <= distance
                yield first[near], second[near]


def _chunks(n_pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Cut positions into runs of a bounded number of pairs (one position at least)."""
    wanted = np.flatnonzero(n_pairs)
    run = np.cumsum(n_pairs[wanted]) // PAIRS_AT_ONCE
    yield from np.split(wanted, np.flatnonzero(np.diff(run)) + 1)
