"""Map a sample of images by t-SNE, on pixels and on features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.analysis.tsne.embedding import embed, reduce_dimensions
from classifold.data.pack import Pack
from classifold.data.seeding import generator
from classifold.runtime.progress import track

MIN_IMAGES = 10


class Map(NamedTuple):
    """The points of one t-SNE map."""

    space: str  # pixels or features
    perplexity: float
    points: np.ndarray  # float32 (N, 2)
    kl_divergence: float
    trustworthiness: (
        float  # in [0, 1]: whether neighbors on the map are neighbors in the original space
    )


class Sample(NamedTuple):
    """Images to map, in the order of the pack."""

    rows: np.ndarray  # int (N,), of the pack
    labels: np.ndarray  # int (N,): the class by which each is colored


def sample_images(
    labels: np.ndarray, *, n_classes: int, classes: int, images_per_class: int, seed: int
) -> Sample:
    """Sample classes at random, and images of each.

    With several labels per image, each image counts as one of the rarest of the sampled classes
    that it has, so that each point has one color. Images that have none of them are not used.

    Args:
        labels: int array (N,), values in [0, n_classes), or 0 and 1 in (N, n_classes).
        n_classes: number of classes.
        classes: number of classes to sample; all, if there are fewer.
        images_per_class: maximum number of images per class.
        seed: seed of the random numbers.
    """
    chosen = generator(seed, "classes").permutation(n_classes)[:classes]
    if labels.ndim == 1:
        label_of = labels
    else:
        # From the rarest to the most frequent: the first that an image has.
        rarest_first = chosen[np.argsort(labels[:, chosen].sum(axis=0), kind="stable")]
        has = labels[:, rarest_first] > 0
        label_of = np.where(has.any(axis=1), rarest_first[has.argmax(axis=1)], -1)
    by_label = np.argsort(label_of, kind="stable")
    ends = np.searchsorted(label_of[by_label], [chosen, chosen + 1])
    sampled = [
        generator(seed, "images", int(label)).permutation(by_label[start:end])
        for label, start, end in zip(chosen, *ends, strict=True)
    ]
    rows = np.sort(np.concatenate([rows[:images_per_class] for rows in sampled]))
    return Sample(rows, label_of[rows])


def describe_small_sample(sample: Sample, *, n_train: int) -> str | None:
    """Describe why a sample is too small for maps; None if it is not.

    Args:
        sample: the sampled images.
        n_train: number of training images.
    """
    n_images = len(sample.rows)
    if n_images >= MIN_IMAGES:
        return None
    remedy = ". Increase tsne.classes or tsne.images_per_class" if n_train >= MIN_IMAGES else ""
    return (
        f"t-SNE needs at least {MIN_IMAGES} images, and the sample has {n_images} of the {n_train} "
        f"training images{remedy}"
    )


def make_maps(
    points: np.ndarray, *, space: str, perplexities: Sequence[float], seed: int
) -> list[Map]:
    """Map points for each perplexity that their number allows.

    PCA to 90 % of the variance comes first. A perplexity of at least a third of the points needs
    more neighbors than there are, and is excluded. If all are excluded, a tenth of the points is
    used.

    Args:
        points: float array (N, n_features), at least `MIN_IMAGES` points.
        space: what the points are: pixels or features.
        perplexities: to try.
        seed: seed of t-SNE.
    """
    n_points = len(points)
    usable = [p for p in perplexities if p < n_points / 3] or [n_points / 10]
    points = reduce_dimensions(points, seed=seed)
    return [
        Map(space, perplexity, *embed(points, perplexity=perplexity, seed=seed))
        for perplexity in track(usable, task=f"t-SNE of {space}", total=len(usable), unit="maps")
    ]


def choose(maps: Sequence[Map]) -> Map:
    """Choose the map with the highest trustworthiness; the first in case of a tie.

    Kullback-Leibler divergences of several perplexities measure different distributions and
    decrease with the perplexity, so the smallest would always choose the largest perplexity.
    """
    return max(maps, key=lambda one: round(one.trustworthiness, 6))


def tsne_metrics(maps: Sequence[Map]) -> dict[str, Any]:
    """Collect the chosen perplexity of one space, and the measures of every perplexity."""
    return {
        "perplexity": choose(maps).perplexity,
        "tried": {
            f"{one.perplexity:g}": {
                "kl_divergence": one.kl_divergence,
                "trustworthiness": one.trustworthiness,
            }
            for one in maps
        },
    }


def map_rows(maps: Sequence[Map], pack: Pack, sample: Sample) -> list[dict[str, Any]]:
    """Describe the points of maps: space, perplexity, id, label, x, y.

    Args:
        maps: maps of the same images.
        pack: pack of the images.
        sample: the images in the pack.
    """
    return [
        {
            "space": one.space,
            "perplexity": one.perplexity,
            "id": pack.ids[row],
            "label": pack.classes[label],
            "x": round(float(x), 4),
            "y": round(float(y), 4),
        }
        for one in maps
        for row, label, (x, y) in zip(*sample, one.points, strict=True)
    ]
