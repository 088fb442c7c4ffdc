"""Choose the test images that are corrupted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.labels import split_labels
from classifold.data.predictions import STACK, read_predictions
from classifold.data.seeding import generator
from classifold.evaluation.labels import LabeledImages, encode_labels


class Sample(NamedTuple):
    """Some test images, in a random order."""

    images: LabeledImages
    n_test: int  # number of all test images


def sample_test_images(
    path: Path, *, decisions: Mapping[str, Any], n_images: int, seed: int
) -> Sample:
    """Choose images at random; those of a smaller sample are the first of a larger one.

    Args:
        path: `predictions.parquet` of the evaluation, which names the test images.
        decisions: see `read_labeled_images`.
        n_images: number of images, or more than there are.
        seed: seed of the sample.
    """
    rows = read_predictions(path, model=STACK)
    order = generator(seed, "robustness").permutation(len(rows))[:n_images]
    chosen = [rows[row] for row in order]
    labels = [split_labels(row["label"]) for row in chosen]
    ids = [row["id"] for row in chosen]
    return Sample(LabeledImages(ids, encode_labels(labels, decisions=decisions)), len(rows))


def describe_empty(sample: Sample) -> str | None:
    """Describe why there is no image; None if there is one."""
    if not sample.n_test:
        return "there are no test images"
    if sample.images.ids:
        return None
    return "robustness.images is 0; set it in params.yaml, for example to 50, and run 'dvc repro'"
