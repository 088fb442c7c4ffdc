"""Precision and recall of probable label errors, where 5 % of the labels are wrong on purpose.

    cd <project> && python <clone>/benchmarks/label_errors.py

The project has packs (`dvc repro augment`) and models of network `probe`. Labels of training and
validation images are changed to other classes; with several labels per image, pairs of image and
class are flipped, as many as 5 % of all labels, half of them missing and half of them wrong. Then
probes are fitted and errors listed as the pipeline does, which never sees the labels before the
change. Wrong labels that the data set had before count as false positives.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from classifold.data.pack import Pack
from classifold.evaluation.intervals import accuracy_interval
from classifold.evaluation.label_errors import label_errors
from classifold.models.decisions import fit_temperature, probabilities
from classifold.params.validation import check_params
from classifold.training.probe import fit_probe, out_of_fold_logits
from classifold.training.setup import prepare

FIRST = 24  # rows that the report shows with pictures

Keys = set[tuple[str, str]]  # image, and a class where it has several


def with_errors(pack: Pack, *, fraction: float, seed: int) -> tuple[Pack, Keys]:
    """Change labels; variants of an image get the same ones."""
    random = np.random.default_rng(seed)
    ids, first, image_of_row = np.unique(pack.ids, return_index=True, return_inverse=True)
    labels = pack.labels[first].copy()
    if pack.task == "single":
        rows = random.choice(len(ids), round(fraction * len(ids)), replace=False)
        n_classes = len(pack.classes)
        labels[rows] = (labels[rows] + random.integers(1, n_classes, len(rows))) % n_classes
        changed = {(str(ids[row]), "") for row in rows}
    else:
        half = round(fraction * int(labels.sum()) / 2)
        pairs = np.concatenate(
            [random.permutation(np.argwhere(labels == value))[:half] for value in (0, 1)]
        )
        labels[tuple(pairs.T)] ^= 1
        changed = {(str(ids[row]), pack.classes[column]) for row, column in pairs}
    return pack._replace(labels=labels[image_of_row]), changed


def find_errors(params: Mapping[str, Any], *, fraction: float, seed: int) -> tuple[list[Any], Keys]:
    """List probable label errors as the pipeline does; also returns those that were planted."""
    scaled, changed, found = [], set(), None
    for model in params["models"].values():
        if model["network"] != "probe":
            continue
        training = prepare(params["train"], model, packs=Path("data/augmented"))
        train, changed = with_errors(training.train, fraction=fraction, seed=seed)
        validation, _ = with_errors(training.validation, fraction=fraction, seed=seed)
        network, config = training.network, training.config
        fitted = fit_probe(
            network,
            train,
            validation,
            config=config,
            machine=training.machine,
            cache=training.cache,
        )
        found = out_of_fold_logits(
            network, fitted.body, train, config=config.as_trained(fitted.phases)
        )
        temperature = fit_temperature(
            fitted.body.logits(network, validation.images), validation.labels
        )
        scaled.append(probabilities(found.logits, temperature=temperature, task=train.task))
    rows = label_errors(np.mean(scaled, axis=0), found.labels, ids=found.ids, classes=train.classes)
    return rows, changed


def describe(name: str, n_correct: int, n: int) -> str:
    """Format a fraction with its interval."""
    low, high = accuracy_interval(n_correct, n)
    return f"{name} {n_correct / n:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print precision and recall over all repetitions, and the precision of the first rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fraction", type=float, default=0.05, help="of the labels")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    params = check_params()
    n_changed = n_listed = n_found = n_first = n_shown = n_found_of_shown = 0
    for seed in range(arguments.repetitions):
        rows, changed = find_errors(params, fraction=arguments.fraction, seed=seed)
        several = params["dataset"]["task"] == "multi"
        keys = [(row["id"], (row["label"] or row["suggested"]) if several else "") for row in rows]
        hits = [key in changed for key in keys]
        n_changed, n_listed = n_changed + len(changed), n_listed + len(rows)
        n_found, n_first = n_found + sum(hits), n_first + sum(hits[: len(changed)])
        n_shown, n_found_of_shown = (
            n_shown + len(hits[:FIRST]),
            n_found_of_shown + sum(hits[:FIRST]),
        )
    print(f"{n_changed:,} labels were changed, {n_listed:,} listed")
    print(describe("precision", n_found, n_listed), describe("recall", n_found, n_changed))
    print(describe(f"precision of the first {FIRST}", n_found_of_shown, n_shown))
    print(describe("precision of as many rows as were changed", n_first, n_changed))


if __name__ == "__main__":
    main()
