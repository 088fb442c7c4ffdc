"""Find groups of exact and near duplicates by the hashes of images."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from classifold.runtime.parallel import ordered_map

BITS = 64
MAX_BANDS = 8
MAX_BAND_WIDTH = 22  # bits: a table of its buckets takes 32 MB

PAIRS_AT_ONCE = 4_000_000
PAIRS_PER_MILLISECOND = 20_000
HASHES_PER_SEARCH = 2**20


def equal_groups(values: Sequence[Hashable]) -> list[list[int]]:
    """Group the positions of equal values.

    Args:
        values: one per image, such as a hash of its pixels.

    Returns:
        Groups of two or more positions, each ascending, ordered by their first position.
    """
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for position, value in enumerate(values):
        positions[value].append(position)
    return [group for group in positions.values() if len(group) > 1]


def near_groups(hashes: Sequence[str], *, distance: int) -> list[list[int]]:
    """Group the positions of hashes that are near each other, directly or through other hashes.

    Two hashes that differ in at most `distance` of their 64 bits differ in at most `distance // m`
    bits of one of their m bands, so only images in such neighboring buckets of a band are
    compared: no pair is missed. With more images the bands are fewer and wider, so that time
    does not grow with the square of the number of images, up to about ten million images, unless
    most of them look the same.

    Args:
        hashes: 16 hexadecimal digits per image.
        distance: the largest number of bits in which near hashes differ, 0 to 12.

    Returns:
        Groups of two or more positions, each ascending, ordered by their first position.

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
        n_images: number of images.

    Returns:
        Groups of two or more positions, each ascending, ordered by their first position.
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


def choose_bands(n_words: int, *, distance: int) -> list[int]:
    """Choose the number of bands and their widths in bits.

    The choice has the lowest expected number of look-ups and comparisons for random hashes: each
    of n words is compared with all buckets of a band that differ in a few bits, and each bucket
    has n / 2^width words.
    """
    choices = []
    for n_bands in range(-(-BITS // MAX_BAND_WIDTH), MAX_BANDS + 1):
        width, rest = divmod(BITS, n_bands)
        widths = [width + (band < rest) for band in range(n_bands)]
        n_flips = distance // n_bands
        cost = sum(
            sum(comb(width, n) for n in range(n_flips + 1)) * (1 + n_words / 2**width)
            for width in widths
        )
        choices.append((cost, widths))
    return min(choices)[1]


class _Pairs(NamedTuple):
    """Positions of hashes that are near: `first` and `second` of each pair."""

    first: np.ndarray
    second: np.ndarray


class _Band(NamedTuple):
    """Consecutive bits of every hash."""

    shift: int  # position of its lowest bit
    width: int

    def keys(self, words: np.ndarray) -> np.ndarray:
        """Extract these bits as numbers, int64 (N,)."""
        buckets = words >> np.uint64(self.shift) & np.uint64(2**self.width - 1)
        return buckets.astype(np.int64)


class _Search(NamedTuple):
    """The pairs to search: hashes `start` to `stop`, with those whose band differs by `mask`."""

    band: _Band
    mask: int  # the bits in which the bands of a pair differ
    start: int
    stop: int


def _near_pairs(words: np.ndarray, distance: int) -> Iterator[_Pairs]:
    """Find all pairs of different words at most `distance` bits apart, some of them twice."""
    widths = choose_bands(len(words), distance=distance)
    bands = [_Band(sum(widths[:band]), width) for band, width in enumerate(widths)]
    searches = [
        _Search(band, mask, start, min(start + HASHES_PER_SEARCH, len(words)))
        for band in bands
        for mask in _masks(band.width, distance // len(bands))
        for start in range(0, len(words), HASHES_PER_SEARCH)
    ]
    # Expected of random hashes.
    n_pairs = sum(
        (search.stop - search.start) * len(words) >> search.band.width for search in searches
    )
    return ordered_map(
        _PairFinder(words, distance),
        searches,
        n_items=n_pairs // PAIRS_PER_MILLISECOND,
        chunk_size=1,
    )


def _masks(width: int, max_flips: int) -> Iterator[int]:
    """Generate all numbers of `width` bits of which at most `max_flips` are set."""
    for n_flips in range(max_flips + 1):
        for bits in combinations(range(width), n_flips):
            yield sum(1 << bit for bit in bits)


class _PairFinder:
    """Finds the near pairs of a search; runs in worker processes where there are many searches."""

    def __init__(self, words: np.ndarray, distance: int) -> None:
        self._words, self._distance = words, distance
        self._band: _Band | None = None  # that the following arrays belong to
        self._keys = self._order = self._starts = np.empty(0, np.int64)

    def __call__(self, search: _Search) -> _Pairs:
        if search.band != self._band:
            self._sort(search.band)
        neighbors = self._keys[search.start : search.stop] ^ search.mask
        n_in_bucket = self._starts[neighbors + 1] - self._starts[neighbors]
        found = [
            self._compare(chunk, chunk + search.start, neighbors, n_in_bucket)
            for chunk in _chunks(n_in_bucket)
        ]
        return _Pairs(*map(np.concatenate, zip(*found, strict=True)))

    def _sort(self, band: _Band) -> None:
        self._keys = band.keys(self._words)
        self._order = np.argsort(self._keys, kind="stable")
        self._starts = np.searchsorted(self._keys[self._order], np.arange(2**band.width + 1))
        self._band = band

    def _compare(
        self, chunk: np.ndarray, positions: np.ndarray, neighbors: np.ndarray, counts: np.ndarray
    ) -> _Pairs:
        """Compare some hashes with all of their neighboring buckets."""
        first = np.repeat(positions, counts[chunk])
        ends = np.cumsum(counts[chunk])
        within = np.arange(len(first)) - np.repeat(ends - counts[chunk], counts[chunk])
        second = self._order[np.repeat(self._starts[neighbors[chunk]], counts[chunk]) + within]
        once = first < second
        first, second = first[once], second[once]
        near = np.bitwise_count(self._words[first] ^ self._words[second]) <= self._distance
        return _Pairs(first[near], second[near])


def _chunks(n_pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Divide positions into runs of a bounded number of pairs (at least one position)."""
    wanted = np.flatnonzero(n_pairs)
    run = np.cumsum(n_pairs[wanted]) // PAIRS_AT_ONCE
    yield from np.split(wanted, np.flatnonzero(np.diff(run)) + 1)
