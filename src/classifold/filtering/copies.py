"""Groups of images that are copies of one another."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from classifold.parallel import ordered_map

BITS = 64
BANDS = 4
BITS_A_BAND = BITS // BANDS
BUCKETS = 2**BITS_A_BAND

PAIRS_AT_ONCE = 4_000_000
PAIRS_A_MILLISECOND = 20_000
HASHES_A_SEARCH = 2**20


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
    for pairs in _near_pairs(unique, distance):
        component = _merge(component, pairs.first, pairs.second)
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


class _Pairs(NamedTuple):
    """Positions of hashes that are near: `first` and `second` of each pair."""

    first: np.ndarray
    second: np.ndarray


class _Search(NamedTuple):
    """Which pairs to look for: of hashes `start` to `stop`, with those whose band differs so."""

    band: int
    mask: int  # the bits in which the bands of a pair differ
    start: int
    stop: int


def _near_pairs(words: np.ndarray, distance: int) -> Iterator[_Pairs]:
    """Find all pairs of different words at most `distance` bits apart, some of them twice."""
    n_flips = distance // BANDS
    masks = [
        sum(1 << bit for bit in bits)
        for n_bits in range(n_flips + 1)
        for bits in combinations(range(BITS_A_BAND), n_bits)
    ]
    searches = [
        _Search(band, mask, start, min(start + HASHES_A_SEARCH, len(words)))
        for band in range(BANDS)
        for mask in masks
        for start in range(0, len(words), HASHES_A_SEARCH)
    ]
    n_pairs = BANDS * len(masks) * len(words) ** 2 // BUCKETS  # were the hashes random
    return ordered_map(
        _PairFinder(words, distance),
        searches,
        n_items=n_pairs // PAIRS_A_MILLISECOND,
        items_a_task=1,
    )


class _PairFinder:
    """Runs in other processes, if there are many: finds the near pairs of a search."""

    def __init__(self, words: np.ndarray, distance: int) -> None:
        self._words, self._distance = words, distance
        self._band = -1  # for which the following are
        self._keys = self._order = self._starts = np.empty(0, np.int64)

    def __call__(self, search: _Search) -> _Pairs:
        if search.band != self._band:
            self._sort(search.band)
        neighbours = self._keys[search.start : search.stop] ^ search.mask
        n_in_bucket = self._starts[neighbours + 1] - self._starts[neighbours]
        found = [
            self._compare(chunk, chunk + search.start, neighbours, n_in_bucket)
            for chunk in _chunks(n_in_bucket)
        ]
        return _Pairs(*map(np.concatenate, zip(*found, strict=True)))

    def _sort(self, band: int) -> None:
        shifted = self._words >> np.uint64(band * BITS_A_BAND)
        self._keys = (shifted & np.uint64(BUCKETS - 1)).astype(np.int64)
        self._order = np.argsort(self._keys, kind="stable")
        self._starts = np.searchsorted(self._keys[self._order], np.arange(BUCKETS + 1))
        self._band = band

    def _compare(
        self, chunk: np.ndarray, positions: np.ndarray, neighbours: np.ndarray, counts: np.ndarray
    ) -> _Pairs:
        """Compare some hashes with all of their neighbouring buckets."""
        first = np.repeat(positions, counts[chunk])
        ends = np.cumsum(counts[chunk])
        within = np.arange(len(first)) - np.repeat(ends - counts[chunk], counts[chunk])
        second = self._order[np.repeat(self._starts[neighbours[chunk]], counts[chunk]) + within]
        once = first < second
        first, second = first[once], second[once]
        near = np.bitwise_count(self._words[first] ^ self._words[second]) <= self._distance
        return _Pairs(first[near], second[near])


def _chunks(n_pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Cut positions into runs of a bounded number of pairs (one position at least)."""
    wanted = np.flatnonzero(n_pairs)
    run = np.cumsum(n_pairs[wanted]) // PAIRS_AT_ONCE
    yield from np.split(wanted, np.flatnonzero(np.diff(run)) + 1)
