"""Compare new images with the test images of a project: are they from the same source?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.analysis.drift.comparison import MAX_IMAGES, MIN_IMAGES, Drift, compare_images
from classifold.analysis.drift.images import DescribedImages, DistinctImages, keep_distinct, sample
from classifold.analysis.drift.properties import measure_properties
from classifold.analysis.features.compute import compute_features
from classifold.data.image_table import iter_columns
from classifold.data.pixels import load_pixels
from classifold.data.split_file import read_groups
from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.runtime.progress import track
from classifold.serving.comparison import MISSING, Comparison
from classifold.serving.new_images import NewImages
from classifold.serving.predict import N_IMAGES_AT_ONCE, Classifier

SEED = 1


class ImageToDescribe(NamedTuple):
    """An image to describe."""

    name: str
    pixels: np.ndarray  # uint8 (pack_size, pack_size, 3)
    width: int  # of the original
    height: int
    sha256: str  # of its RGB pixels
    perceptual_hash: str


class DriftReport(NamedTuple):
    """The result of the comparison, and which images were compared."""

    drift: Drift
    split: str  # of the reference images: test, or validation if there are no test images
    images: DistinctImages  # that were compared
    n_new: int  # number of new images, also of those that were not compared
    n_unreadable: int
    # New images: `image`, `score`, `predicted`; none where the features do not differ.
    most_different: list[dict[str, Any]]


def find_drift(
    root: Path, classifier: Classifier, images: NewImages, *, alpha: float, top: int
) -> DriftReport:
    """Test whether new images are like the test images, or the validation images if there are none.

    Neither were trained on, so that their features are as those of new images. The test images
    are also those whose score is reported.

    Args:
        root: the project's folder.
        classifier: of this project.
        images: at least `MIN_IMAGES` images.
        alpha: significance level of all tests together.
        top: number of images in `most_different`.

    Raises:
        UserError: if the stage `novelty` has not run, or if there are too few images.
    """
    if classifier.comparison is None:
        raise UserError(MISSING)
    split, groups = _reference(root / "data/split")
    compared, n_unreadable = _describe_distinct(
        root, classifier, classifier.comparison, images, split=split, groups=groups
    )
    drift = compare_images(
        compared.reference,
        compared.new,
        classes=classifier.classes,
        alpha=alpha,
        seed=SEED,
    )
    return DriftReport(
        drift,
        split,
        compared,
        len(images.names),
        n_unreadable,
        _most_different(drift, compared.new, classifier.classes, top=top),
    )


def _describe_distinct(
    root: Path,
    classifier: Classifier,
    comparison: Comparison,
    images: NewImages,
    *,
    split: str,
    groups: Mapping[str, str],
) -> tuple[DistinctImages, int]:
    """Describe both sets, and exclude duplicates; also counts unreadable new images.

    Sets that are too small are refused as early as that is known.
    """
    n_given = len(images.names)
    _refuse(
        _too_few_reference(len(set(groups.values())), split),
        _too_few_new(n_given, n_given=n_given, excluded={}),
    )
    chosen = set(sample(len(images.names), max_images=MAX_IMAGES, seed=SEED).tolist())
    unreadable: list[str] = []
    describe = partial(describe_images, classifier, comparison)
    new = describe(_new(classifier, images, chosen=chosen, unreadable=unreadable), len(chosen))
    excluded = {"unreadable": len(unreadable)}
    _refuse(_too_few_new(len(new.names), n_given=len(chosen), excluded=excluded))
    reference = describe(_of_table(classifier, list(groups)), len(groups))
    distinct = keep_distinct(
        reference._replace(groups=list(groups.values())),
        new,
        distance=_near_distance(root),
        seed=SEED,
    )
    excluded["duplicates"] = distinct.n_excluded
    _refuse(
        _too_few_reference(
            len(distinct.reference.names), split, n_given=distinct.n_duplicates_of_reference
        ),
        _too_few_new(len(distinct.new.names), n_given=len(chosen), excluded=excluded),
    )
    return distinct, len(unreadable)


def describe_images(
    classifier: Classifier,
    comparison: Comparison,
    images: Iterable[ImageToDescribe],
    n_images: int,
) -> DescribedImages:
    """Compute what is compared of images, in bounded memory.

    Args:
        classifier: that predicts their classes.
        comparison: that computes their features.
        images: to describe.
        n_images: how many, for the progress.
    """
    images = iter(track(images, task="describe", total=n_images, unit="images"))
    described: list[ImageToDescribe] = []
    computed = []
    while chunk := list(islice(images, N_IMAGES_AT_ONCE)):
        pixels = np.stack([image.pixels for image in chunk])
        sizes = [(image.width, image.height) for image in chunk]
        predicted = classifier.predicted(pixels)
        comparison.model.use_threads()
        features = compute_features(comparison.model, pixels, device=classifier.device)
        properties = np.concatenate([measure_properties(pixels), sizes], axis=1)
        described += [image._replace(pixels=np.empty(0)) for image in chunk]
        computed.append((features, predicted, properties))
    columns = list(map(np.concatenate, zip(*computed, strict=True))) or [np.empty((0, 0))] * 3
    return DescribedImages(
        [image.name for image in described],
        columns[0],
        columns[1],
        columns[2],
        [image.sha256 for image in described],
        [image.perceptual_hash for image in described],
    )


def _reference(folder: Path) -> tuple[str, dict[str, str]]:
    """The split of the reference images, and id -> group of those that are compared."""
    for split in ("test", "validation"):
        groups = read_groups(folder / f"{split}.csv")
        if groups:
            break
    ids = sorted(groups)
    rows = sample(len(ids), max_images=MAX_IMAGES, seed=SEED)
    return split, {ids[row]: groups[ids[row]] for row in rows}


def _of_table(classifier: Classifier, ids: Sequence[str]) -> Iterator[ImageToDescribe]:
    columns = ("id", "width", "height", "sha256", "perceptual_hash")
    wanted = set(ids)
    rows = {
        row["id"]: tuple(row[name] for name in columns[1:])
        for row in iter_columns(classifier.ingested, columns)
        if row["id"] in wanted
    }
    for start in range(0, len(ids), N_IMAGES_AT_ONCE):
        chunk = ids[start : start + N_IMAGES_AT_ONCE]
        pixels = load_pixels(
            classifier.ingested, chunk, size=classifier.pack_size, resize=classifier.resize
        )
        for image_id, of_image in zip(chunk, pixels, strict=True):
            yield ImageToDescribe(image_id, of_image, *rows[image_id])


def _new(
    classifier: Classifier, images: NewImages, *, chosen: set[int], unreadable: list[str]
) -> Iterator[ImageToDescribe]:
    pixels = images.pixels(**classifier.preparation, hashed=True)
    for i, (name, image) in enumerate(zip(images.names, pixels, strict=True)):
        if i not in chosen:
            continue
        if image.pixels is None or image.hashes is None:
            unreadable.append(name)
            continue
        yield ImageToDescribe(
            name,
            image.pixels,
            image.width,
            image.height,
            sha256=image.hashes.pixels_sha256,
            perceptual_hash=image.hashes.perceptual_hash,
        )


def _near_distance(root: Path) -> int | None:
    duplicates: Mapping[str, Any] = check_params(root / PARAMS_FILE)["filter"]["duplicates"]
    return None if duplicates["near"] == "off" else duplicates["distance"]


def _refuse(*messages: str | None) -> None:
    """Report what is wrong with both sets together."""
    if any(messages):
        raise UserError("\n".join(message for message in messages if message))


def _too_few_new(n_kept: int, *, n_given: int, excluded: Mapping[str, int]) -> str | None:
    if n_kept >= MIN_IMAGES:
        return None
    counts = ", ".join(f"{n:,} {name}" for name, n in excluded.items() if n)
    return (
        f"IMAGES: must have at least {MIN_IMAGES} readable images, duplicates not counted, got "
        f"{n_kept:,}" + (f" of {n_given:,} ({counts})" if counts else "") + ". Give more images."
    )


def _too_few_reference(n_images: int, split: str, *, n_given: int = 0) -> str | None:
    if n_images >= MIN_IMAGES:
        return None
    if n_given:
        return (
            f"IMAGES: must leave at least {MIN_IMAGES} {split} images to compare with, got "
            f"{n_images:,}, since {n_given:,} of the new images are duplicates of {split} images. "
            "Give images that are not of the data set."
        )
    return (
        f"data/split/{split}.csv: must have at least {MIN_IMAGES} distinct images to compare "
        f"with (one of each group), got {n_images:,}. Raise split.fractions.{split}, or ingest "
        "more images."
    )


def _most_different(
    drift: Drift, images: DescribedImages, classes: Sequence[str], *, top: int
) -> list[dict[str, Any]]:
    if drift.features.p_value > drift.alpha:
        return []  # the scores are noise
    order = np.argsort(-drift.scores, kind="stable")[:top].tolist()
    return [
        {
            "image": images.names[row],
            "score": float(drift.scores[row]),
            "predicted": [classes[i] for i in np.flatnonzero(images.predicted[row]).tolist()],
        }
        for row in order
    ]
