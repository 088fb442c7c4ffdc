"""Compare prediction sets that are calibrated on validation images with those of a split for it.

    python benchmarks/calibration_split.py ~/fruit --model mlp --image-size 8 --splits 45

The training and validation images of a project are split again and again, groups together. For each
split the model is trained from another seed; validation images choose its epoch and temperature.
Sets that are calibrated on the same images, or on as many others, are measured on a fourth part.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.pack import Pack, join
from classifold.evaluation.set_scores import measure_coverage, measure_sets
from classifold.models.decisions import fit_decision, probabilities
from classifold.models.prediction_sets import fit_set_threshold
from classifold.params.reader import read_params
from classifold.splitting.stratified import stratify
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.loop import fit
from classifold.training.setup import prepare

FRACTIONS = {"train": 0.55, "validation": 0.15, "calibration": 0.15, "test": 0.15}
HELD_OUT = tuple(FRACTIONS)[1:]
LEVELS = (0.8, 0.9, 0.95)


def train(
    project: Path, model: Mapping[str, Any], *, seed: int
) -> tuple[dict[str, Pack], dict[str, np.ndarray]]:
    """Train a network on one split: its parts, and probabilities of the held-out ones."""
    settings, policies = read_params("train", "policies", path=project / "params.yaml")
    training = prepare(
        settings, {**model, "seed": seed}, packs=project / "data/augmented", root=project
    )
    pool = join(training.train.originals(), training.validation)
    labels = [[pool.classes[label]] for label in pool.labels]
    split = np.array(stratify(labels, pool.groups or pool.ids, fractions=FRACTIONS, seed=seed))
    parts = {name: pool.subset(np.flatnonzero(split == name)) for name in FRACTIONS}
    network, config, machine = training.network, training.config, training.machine
    common = {"config": config, "policy": policies[model["online"]], "machine": machine}
    fit(network, parts["train"], parts["validation"], **common)
    view = {"image_size": config.image_size, "normalize": config.normalize, "machine": machine}
    logits = {name: predict_distributed(network, parts[name], **view) for name in HELD_OUT}
    temperature = fit_decision(logits["validation"], parts["validation"].labels)["temperature"]
    return parts, {
        name: probabilities(of_part, temperature=temperature) for name, of_part in logits.items()
    }


def main() -> None:
    """Print the accuracies of the parts, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="in which the stage augment has run")
    parser.add_argument("--model", required=True, help="a name in models of its params.yaml")
    parser.add_argument("--image-size", type=int, help="of the network, if not the model's own")
    parser.add_argument("--splits", type=int, default=100)
    arguments = parser.parse_args()
    model = read_params(f"models.{arguments.model}", path=arguments.project / "params.yaml")
    model |= {"image_size": arguments.image_size} if arguments.image_size else {}
    accuracies, coverages, sizes = defaultdict(list), defaultdict(list), defaultdict(list)
    for seed in range(1, arguments.splits + 1):
        parts, scaled = train(arguments.project, model, seed=seed)
        for name in HELD_OUT:
            correct = scaled[name].argmax(axis=1) == parts[name].labels
            accuracies[name].append(correct.mean())
        for level in LEVELS:
            for name in HELD_OUT[:2]:
                threshold = fit_set_threshold(scaled[name], parts[name].labels, level=level)
                sets = measure_sets(scaled["test"], parts["test"].labels, threshold)
                measured = measure_coverage(sets)
                coverages[level, name].append(measured.coverage)
                sizes[level, name].append(measured.mean_size)

    print(", ".join(f"accuracy on {name} {np.mean(accuracies[name]):.4f}" for name in HELD_OUT))
    print("| level | calibrated on | coverage: mean | standard error | mean size |")
    print("|--:|---|--:|--:|--:|")
    for (level, name), found in coverages.items():
        mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
        size = np.mean(sizes[level, name])
        print(f"| {level:.2f} | {name} | {mean:.4f} | {error:.4f} | {size:.2f} |")


if __name__ == "__main__":
    main()
