"""Groups of images with the same pixels."""

from collections import defaultdict
from collections.abc import Sequence


def exact_copies(hashes: Sequence[str]) -> list[list[int]]:
    """Group the positions of equal hashes.

    Args:
        hashes: a hash of the pixels for each image.

    Returns:
        Groups of two or more positions, each ascending, in order of their first.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, image_hash in enumerate(hashes):
        positions[image_hash].append(position)
    return [group for group in positions.values() if len(group) > 1]
