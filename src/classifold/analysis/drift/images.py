"""What is compared of two sets of images, and which of them are distinct."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from classifold.analysis.drift.properties import PROPERTIES
from classifold.data.seeding import generator
from classifold.filtering.duplicates import equal_groups, linked, near_groups

COLUMNS = (*PROPERTIES, "width", "height")


class DescribedImages(NamedTuple):
    """A set of images; row i of each is image i."""

    names: list[str]
    features: np.ndarray  # float32 (N, n_features)
    predicted: np.ndarray  # bool (N, n_classes)
    properties: np.ndarray  # float64 (N, 6): `COLUMNS`; the first four of the resized image
    hashes: list[str]  # of the RGB pixels: equal images have equal ones
    perceptual_hashes: list[str]
    groups: Sequence[str] = ()  # images of one group, such as a patient; by default the names

    def subset(self, rows: Sequence[int] | np.ndarray) -> "DescribedImages":
        """Select images, in the order given."""
        return DescribedImages(
            [self.names[row] for row in rows],
            self.features[rows],
            self.predicted[rows],
            self.properties[rows],
            [self.hashes[row] for row in rows],
            [self.perceptual_hashes[row] for row in rows],
            [self.groups[row] for row in rows] if self.groups else (),
        )


class DistinctImages(NamedTuple):
    """Two sets with one image of each group of duplicates."""

    reference: DescribedImages
    new: DescribedImages
    n_duplicates_of_reference: int  # new images that are duplicates of a reference image
    n_excluded: int  # new images of which a duplicate was kept, in either set


def sample(n_images: int, *, max_images: int, seed: int) -> np.ndarray:
    """Select all of some images, or a random sample of many: increasing rows."""
    if n_images <= max_images:
        return np.arange(n_images)
    return np.sort(generator(seed, "drift", n_images).permutation(n_images)[:max_images])


def keep_distinct(
    reference: DescribedImages, new: DescribedImages, *, distance: int | None, seed: int
) -> DistinctImages:
    """Keep a random image of each group of duplicates, of whichever set it is.

    A duplicate is no independent observation: a classifier that has seen one recognizes the other.
    Which image is kept must not depend on its set, since duplicated images may differ from others.

    Args:
        reference: images whose groups are known.
        new: images without known groups.
        distance: bits in which the perceptual hashes of near duplicates differ; None: only equal
            images are duplicates.
        seed: seed of the choice.
    """
    n_reference, hashes = len(reference.names), [*reference.hashes, *new.hashes]
    groups = [*equal_groups(hashes), *equal_groups(reference.groups or reference.names)]
    if distance is not None:
        perceptual = [*reference.perceptual_hashes, *new.perceptual_hashes]
        groups += near_groups(perceptual, distance=distance)
    random = generator(seed, "duplicates")
    kept, of_reference = np.ones(len(hashes), bool), np.zeros(len(hashes), bool)
    for group in linked(groups, len(hashes)):
        kept[group] = False
        kept[random.choice(group)] = True
        of_reference[group] = group[0] < n_reference
    return DistinctImages(
        reference.subset(np.flatnonzero(kept[:n_reference])),
        new.subset(np.flatnonzero(kept[n_reference:])),
        int(of_reference[n_reference:].sum()),
        int((~kept[n_reference:]).sum()),
    )
