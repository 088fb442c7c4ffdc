"""Groups of images that are copies of one another."""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from math import comb

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BITS = 64
MOST_BANDS = 8
WIDEST_BAND = 22  # bits: a table of its buckets takes 32 MB

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

    Two hashes that differ in at most `distance` of their 64 bits differ in at most `distance // m`
    bits of one of their m bands, so only images in such neighbouring buckets of a band are
    compared: no pair is missed. The more images, the fewer and the wider the bands, so that time
    does not grow with the square of their number, up to some ten millions of them, or unless most
    of them look the same.

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


def choose_bands(n_words: int, *, distance: int) -> list[int]:
    """Choose into how many bands, and how wide ones, hashes are cut: bits of each.

    The choice is that with the fewest look-ups and comparisons, of hashes drawn at random: each of
    n words looks into so many buckets of a band as there are flips of few of its bits, and finds
    n / 2^width words in each.
    """
    choices = []
    for n_bands in range(-(-BITS // WIDEST_BAND), MOST_BANDS + 1):
        share, rest = divmod(BITS, n_bands)
        widths = [share + (band < rest) for band in range(n_bands)]
        n_flips = distance // n_bands
        cost = sum(
            sum(comb(width, n) for n in range(n_flips + 1)) * (1 + n_words / 2**width)
            for width in widths
        )
        choices.append((cost, widths))
    return min(choices)[1]


def _masks(width: int, most_flips: int) -> Iterator[int]:
    """All numbers of `width` bits of which at most so many are set."""
    for n_flips in range(most_flips + 1):
        for bits in combinations(range(width), n_flips):
            yield sum(1 << bit for bit in bits)


def _near_pairs(words: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Find all pairs of different words at most `distance` bits apart, some of them twice."""
    widths = choose_bands(len(words), distance=distance)
    n_flips = distance // len(widths)
    for band, width in enumerate(widths):
        n_buckets = 2**width
        keys = words >> np.uint64(sum(widths[:band])) & np.uint64(n_buckets - 1)
        keys = keys.astype(np.int64)
        order = np.argsort(keys, kind="stable")
        starts = np.searchsorted(keys[order], np.arange(n_buckets + 1))
        for mask in _masks(width, n_flips):
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
