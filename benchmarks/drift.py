"""Measure false alarms and power of `classifold drift` on finished projects.

    python benchmarks/drift.py ~/fruit ~/photos ~/tiny

Each folder is a project after the stages `evaluate` and `novelty`. The first table has the fraction
of random halves of its test images that differ by each test; all together at most alpha should. The
second one has the fraction of random samples of new images that differ from the test images, for
several numbers of new images. They are validation images, as they are or changed, and test images
of the other projects.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from classifold.analysis.drift.comparison import Drift, compare_images
from classifold.analysis.drift.images import DescribedImages, sample
from classifold.data.pixels import load_pixels
from classifold.data.split_file import read_split
from classifold.serving.comparison import MISSING
from classifold.serving.drift import ImageToDescribe, describe_images
from classifold.serving.predict import Classifier

ALPHA = 0.05
N_PERMUTATIONS = 199
N_HALVES = 100
N_SAMPLES = 20
N_NEW = (50, 100, 250)
MAX_REFERENCE, MAX_NEW = 600, 500


class Project:
    """A finished project, and images described by its networks."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, root.name
        self.classifier = Classifier.load(root)
        if (comparison := self.classifier.comparison) is None:
            raise SystemExit(f"{root}: {MISSING}")
        self.comparison = comparison

    def labels(self, split: str, *, max_images: int) -> dict[str, tuple[str, ...]]:
        """Read the labels of a split, of all images or a random sample: id -> labels."""
        labels = read_split(self.root / f"data/split/{split}.csv")
        ids = sorted(labels)
        rows = sample(len(ids), max_images=max_images, seed=1)
        return {ids[row]: labels[ids[row]] for row in rows}

    def pixels(self, split: str, *, max_images: int, size: int, resize: str) -> np.ndarray:
        """Read images of a split, all or a random sample."""
        ids = list(self.labels(split, max_images=max_images))
        return load_pixels(self.root / "data/ingested", ids, size=size, resize=resize)

    def describe(self, pixels: np.ndarray) -> DescribedImages:
        """Describe images, all of one original size, so that it never differs."""
        side = pixels.shape[1]
        images = [
            ImageToDescribe(str(i), image, side, side, str(i), "") for i, image in enumerate(pixels)
        ]
        return describe_images(self.classifier, self.comparison, images, len(images))

    def sets(self, others: list["Project"]) -> Iterator[tuple[str, DescribedImages]]:
        """Describe the test images, and all kinds of new images."""
        own = {"size": self.classifier.pack_size, "resize": self.classifier.resize}
        yield "test images", self.describe(self.pixels("test", max_images=MAX_REFERENCE, **own))
        pixels = self.pixels("validation", max_images=MAX_NEW, **own)
        new = self.describe(pixels)
        yield "validation images", new
        labels = list(self.labels("validation", max_images=MAX_NEW).values())
        by_frequency = Counter(name for of_image in labels for name in of_image).most_common()
        for name, count in (by_frequency[0], by_frequency[len(by_frequency) // 2]):
            kept = [row for row, of_image in enumerate(labels) if name not in of_image]
            yield f"without {name} ({count / len(labels):.0%})", new.subset(kept)
        yield "brightness x 0.8", self.describe((0.8 * pixels).astype(np.uint8))
        yield "blurred by 1 pixel", self.describe(np.stack([_blur(image) for image in pixels]))
        yield "upside down", self.describe(pixels[:, ::-1])
        for other in others:
            yield other.name, self.describe(other.pixels("test", max_images=250, **own))


def _blur(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


def compare(
    reference: DescribedImages, new: DescribedImages, classes: list[str], *, seed: int
) -> Drift:
    """Compare with fewer permutations than the command does."""
    return compare_images(
        reference, new, classes=classes, alpha=ALPHA, seed=seed, n_permutations=N_PERMUTATIONS
    )


def outcomes(drift: Drift) -> list[bool]:
    """Find which tests find a difference: any, features, classes, properties."""
    classes, properties = (bool(drift.shifted(each)) for each in (drift.classes, drift.properties))
    return [drift.found, drift.features.p_value <= ALPHA, classes, properties]


def measure_false_alarms(name: str, images: DescribedImages, classes: list[str]) -> None:
    """Print the row of a project: how often two random halves differ."""
    found, contains = [], []
    for seed in range(N_HALVES):
        halves = np.array_split(np.random.default_rng(seed).permutation(len(images.names)), 2)
        drift = compare(*(images.subset(half) for half in halves), classes, seed=seed)
        found.append(outcomes(drift))
        low, high = drift.features.auroc_ci95
        contains.append(low <= 0.5 <= high)
    cells = [f"{100 * rate:.1f} %" for rate in np.mean(found, axis=0)]
    print(
        f"| {name} | {len(halves[0]):,} and {len(halves[1]):,} | {' | '.join(cells)} "
        f"| {100 * np.mean(contains):.1f} % |",
        flush=True,
    )


def measure_power(
    name: str, kind: str, reference: DescribedImages, new: DescribedImages, classes: list[str]
) -> None:
    """Print the row of one kind of new images: how often samples of it differ from the test."""
    cells, aurocs = [], []
    for n_new in N_NEW:
        if n_new > len(new.names):
            cells.append("")
            continue
        drifts = []
        for seed in range(N_SAMPLES):
            rows = np.random.default_rng(seed).permutation(len(new.names))[:n_new]
            drifts.append(compare(reference, new.subset(rows), classes, seed=seed))
        rates = 100 * np.mean([outcomes(drift) for drift in drifts], axis=0)
        aurocs.append(np.mean([drift.features.auroc for drift in drifts]))
        cells.append(f"{rates[0]:.0f} % ({rates[1]:.0f}, {rates[2]:.0f}, {rates[3]:.0f})")
    print(f"| {name} | {kind} | {' | '.join(cells)} | {aurocs[-1]:.3f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", nargs="+", type=Path)
    projects = [Project(root) for root in parser.parse_args().projects]
    described = {
        project.name: dict(project.sets([other for other in projects if other is not project]))
        for project in projects
    }
    print("| test images of | images of each half | any | features | classes | properties "
          "| interval contains 0.5 |\n|---|---|--:|--:|--:|--:|--:|")  # fmt: skip
    for project in projects:
        images = described[project.name]["test images"]
        measure_false_alarms(project.name, images, project.classifier.classes)
    print(f"| test images of | new images | {' | '.join(f'{n} new' for n in N_NEW)} | AUROC |")
    print(f"|---|---|{'---|' * len(N_NEW)}--:|")
    for project in projects:
        for kind, images in list(described[project.name].items())[1:]:
            reference = described[project.name]["test images"]
            measure_power(project.name, kind, reference, images, project.classifier.classes)


if __name__ == "__main__":
    main()
