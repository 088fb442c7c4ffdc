"""Measure how well scores of novelty separate foreign images from those of a finished project.

    python benchmarks/novelty.py ~/fruit ~/photos ~/tiny

Each folder is a project after the stage `novelty`. The images that belong are its test images. The
others are the test images of the other projects, uniform noise, images of one gray value, and its
own test images upside down and in grayscale. Rows have the area under the ROC curve of each score
of its explained model (1: all other images have a higher score; 0.5: no better than chance), and
the fraction of images with the remark of `classifold predict`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score

from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.nearest import N_NEIGHBORS, find_nearest
from classifold.analysis.features.training_images import load_training_images
from classifold.data.pixels import LUMA, load_pixels
from classifold.data.split_file import read_split
from classifold.models.explained_model import load_explained_model
from classifold.models.model_file import Model

CPU = torch.device("cpu")
NEIGHBORS = (1, 5, 10, 50)
N_NOISE, N_FLAT = 100, 64
OWN = "own test images"


class Project:
    """A finished project."""

    def __init__(self, root: Path, *, n_images: int) -> None:
        self.name, self.data = root.name, root / "data"
        self.model_name, self.model = load_explained_model(self.data / "explained_model")
        self.train = load_training_images(self.data / "novelty")
        ids = sorted(read_split(self.data / "split/test.csv"))
        self.test_ids = np.random.default_rng(1).permutation(ids)[:n_images].tolist()

    def test_images(self, model: Model) -> np.ndarray:
        """Read test images as another project's model needs them."""
        settings = model.preprocessing
        return load_pixels(
            self.data / "ingested",
            self.test_ids,
            size=settings["pack_size"],
            resize=settings["resize"],
        )


def image_sets(project: Project, others: list[Project]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and images, uint8 (N, size, size, 3); the project's own test images first."""
    own = project.test_images(project.model)
    yield OWN, own
    for other in others:
        yield other.name, other.test_images(project.model)
    random = np.random.default_rng(2)
    yield "noise", random.integers(0, 256, (N_NOISE, *own.shape[1:]), np.uint8)
    levels = np.linspace(0, 255, N_FLAT).astype(np.uint8)
    yield "one gray value", np.broadcast_to(levels[:, None, None, None], (N_FLAT, *own.shape[1:]))
    yield "own, upside down", own[:, ::-1]
    gray = (own @ LUMA).round().astype(np.uint8)
    yield "own, in grayscale", np.repeat(gray[..., None], 3, axis=3)


def scores_of(project: Project, images: np.ndarray) -> dict[str, np.ndarray]:
    """Compute each score, higher for more novel images."""
    features = compute_features(project.model, images, device=CPU)
    nearest = find_nearest(features, project.train.features, k=max(NEIGHBORS))
    with torch.inference_mode():
        logits = project.model.network.head(torch.from_numpy(features)).double().numpy()
    scores = {f"neighbor {k}": 1 - nearest.similarities[:, :k][:, -1] for k in NEIGHBORS}
    if project.model.description["task"] == "single":
        scores["energy"] = -logsumexp(logits, axis=1)
        scores["probability"] = -softmax(logits, axis=1).max(axis=1)
    else:
        scores["energy"] = -np.logaddexp(0, logits).sum(axis=1)
        scores["probability"] = -logits.max(axis=1)
    return scores


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=500, help="test images of each project")
    parser.add_argument("--only", nargs="+", help="names of the projects to measure; default: all")
    arguments = parser.parse_args()
    projects = [Project(root, n_images=arguments.images) for root in arguments.projects]
    names = [*(f"neighbor {k}" for k in NEIGHBORS), "energy", "probability"]
    print(f"| images that belong | images | number | {' | '.join(names)} | remark |")
    print(f"|---|---|--:|{'--:|' * len(names)}--:|")
    for project in projects:
        if project.name not in (arguments.only or [project.name]):
            continue
        project.model.use_threads()
        others = [other for other in projects if other is not project]
        belong: dict[str, np.ndarray] = {}
        for kind, images in image_sets(project, others):
            scores = scores_of(project, images)
            belong = belong or scores
            areas = [
                "" if kind == OWN else f"{_area(belong[name], scores[name]):.3f}" for name in names
            ]
            threshold = project.train.threshold
            novel = scores[f"neighbor {N_NEIGHBORS}"] > (np.inf if threshold is None else threshold)
            print(
                f"| {project.name} ({project.model_name}, {len(project.train.ids):,}) | {kind} | "
                f"{len(images):,} | {' | '.join(areas)} | {100 * novel.mean():.1f} % |",
                flush=True,
            )


def _area(belong: np.ndarray, foreign: np.ndarray) -> float:
    is_foreign = np.repeat([0, 1], [len(belong), len(foreign)])
    return float(roc_auc_score(is_foreign, np.concatenate([belong, foreign])))


if __name__ == "__main__":
    main()
