"""Compare a run with another revision: params, counts and paired differences of scores."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.labels import split_labels
from classifold.data.predictions import MAJORITY, STACK
from classifold.evaluation.intervals import paired_gain
from classifold.params.differences import differing_keys
from classifold.reporting.facts import Facts
from classifold.reporting.formats import NOT_AVAILABLE, MainMetric, count, format_p_value
from classifold.reporting.revision import Revision
from classifold.reporting.sections.summary import SIGNIFICANCE_LEVEL, describe_significance
from classifold.reporting.tables import (
    Cell,
    Column,
    Table,
    difference_cell,
    difference_column,
    name_cell,
    number_cell,
    score_cell,
)

Rows = Sequence[Mapping[str, Any]]

# File in metrics/ and key -> description.
COUNTS = {
    ("ingest", "n_images"): "images read",
    ("ingest", "n_unreadable"): "unreadable files",
    ("ingest", "n_classes"): "classes",
    ("filter", "n_excluded"): "images excluded by the filter",
    ("split", "n_train"): "training images",
    ("augment", "n_images"): "training images with variants",
    ("split", "n_validation"): "validation images",
    ("split", "n_test"): "test images",
}


class Difference(NamedTuple):
    """The difference of one model between two runs, on the test images of both."""

    n_images: int
    n_differing: int  # images with different predictions
    difference: float  # this run minus the other one
    ci95: list[float]
    p_value: float | None  # exact McNemar test; None with several labels per image


class Comparison(NamedTuple):
    """What the report shows about another revision."""

    name: str
    commit: str
    sentence: str
    scores: Table
    counts: Table  # only what differs
    params: Table  # only what differs


def compare(facts: Facts, other: Revision) -> Comparison:
    """Compare this run with another one.

    Differences are paired: they are on the images that are test images in both runs, with the
    same labels, so neither run was trained on them.

    Args:
        facts: settings and results of this run.
        other: the other one.
    """
    differences = _differences(facts, other)
    return Comparison(
        other.name,
        other.commit,
        _sentence(facts, other, differences),
        _scores_table(facts, other, differences),
        _counts_table(facts, other),
        _params_table(facts.params, other),
    )


def paired(here: Rows, there: Rows, *, task: str) -> Difference | None:
    """Compute the difference of two models on the images that both predicted, if any.

    Args:
        here: rows of predictions.parquet, of one model.
        there: settings and results of the other run.
        task: single or multi.
    """
    others = {(row["id"], row["label"]): row for row in there}
    pairs = [(row, others[key]) for row in here if (key := (row["id"], row["label"])) in others]
    if not pairs:
        return None
    n_differing = sum(one["predicted"] != other["predicted"] for one, other in pairs)
    texts = (
        [row["predicted"] for row, _ in pairs],
        [row["predicted"] for _, row in pairs],
        [row["label"] for row, _ in pairs],
    )
    arrays = _indicators(*texts) if task == "multi" else map(np.array, texts)
    return Difference(len(pairs), n_differing, *paired_gain(*arrays))


def _differences(facts: Facts, other: Revision) -> dict[str, Difference]:
    """Compute the differences of the models that are in both runs, by name."""
    if other.predictions is None:
        return {}
    found = {
        name: paired(rows, other.predictions[name], task=facts.task)
        for name, rows in facts.predictions.items()
        if name in other.predictions
    }
    return {name: difference for name, difference in found.items() if difference}


def _sentence(facts: Facts, other: Revision, differences: Mapping[str, Difference]) -> str:
    metric = facts.main_metric
    n_there = _n_test(other)
    if not facts.n_test or not n_there:
        return "One of the two runs has no test images, so their scores cannot be compared."
    if other.params["dataset"]["task"] != facts.task:
        return (
            "One run has one label per image, the other several: their scores cannot be compared."
        )
    if other.predictions is None:
        return (
            f"The predictions of {other.name} are not in the cache of DVC, so the scores cannot be "
            "compared image by image. If a remote has them, run 'dvc fetch --all-commits'."
        )
    if STACK not in differences:
        return "The two runs have no test image in common, so their scores cannot be compared."
    stack = differences[STACK]
    images = f"the same {count(stack.n_images, 'test image')}"
    if not stack.n_images == facts.n_test == n_there:
        images = (
            f"the {count(stack.n_images, 'test image')} of both runs (this run has "
            f"{facts.n_test:,}, {other.name} has {n_there:,})"
        )
    low, high = stack.ci95
    if not stack.n_differing:
        return f"On {images}, the stack has the same predictions as that of {other.name}."
    p_value = format_p_value(stack.p_value) if stack.p_value is not None else ""
    significant = (
        stack.p_value < SIGNIFICANCE_LEVEL if stack.p_value is not None else low > 0 or high < 0
    )
    return (
        f"On {images}, the stack differs from that of {other.name} by "
        f"{metric.difference(stack.difference)}{' points' if metric.unit else ''} (95 % interval "
        f"{metric.differences(stack.ci95)}{', exact McNemar test ' + p_value if p_value else ''}). "
        f"{describe_significance(bool(significant))}."
    )


def _scores_table(facts: Facts, other: Revision, differences: Mapping[str, Difference]) -> Table:
    metric = facts.main_metric
    here, there = facts.metrics["test"], other.metrics["test"]
    names = [name for name in {**there, **here} if name not in (STACK, MAJORITY)]
    columns = [
        Column("model"),
        Column(metric.name, numeric=True, subtitle="this run"),
        Column(metric.name, numeric=True, subtitle=other.name),
        difference_column("difference", metric, hint="on the test images of both runs"),
    ]
    rows = [
        [
            name_cell(name),
            _test_score_cell(here.get(name), metric),
            _test_score_cell(there.get(name), metric),
            _paired_difference_cell(differences.get(name), metric),
        ]
        for name in [*names, STACK, MAJORITY]
    ]
    caption = f"Test scores of this run and of {other.name}"
    return Table(caption, columns, rows, highlighted=frozenset({STACK}))


def _test_score_cell(tested: Mapping[str, Any] | None, metric: MainMetric) -> Cell:
    # A model of one run only, a run without test images, or a run of another task.
    if not tested or metric.key not in tested:
        return Cell(NOT_AVAILABLE)
    n_images = tested["n_images"]
    note = metric.interval(tested[f"{metric.key}_ci95"], n_images=n_images)
    return score_cell(metric, tested[metric.key], n_images=n_images, note=note)


def _paired_difference_cell(found: Difference | None, metric: MainMetric) -> Cell:
    if found is None:
        return Cell(NOT_AVAILABLE)
    return difference_cell(metric, found.difference, note=metric.differences(found.ci95))


def _counts_table(facts: Facts, other: Revision) -> Table:
    rows = []
    for (file, key), description in COUNTS.items():
        here, there = (metrics[file].get(key) for metrics in (facts.metrics, other.metrics))
        if here != there:
            rows.append([Cell(description, description), number_cell(here), number_cell(there)])
    columns = [
        Column("count"),
        Column("this run", numeric=True),
        Column(other.name, numeric=True),
    ]
    return Table(f"Counts that differ from {other.name}", columns, rows)


def _params_table(here: Mapping[str, Any], other: Revision) -> Table:
    rows = [
        [Cell(key, key), _value(ours), _value(theirs)]
        for key, ours, theirs in differing_keys(here, other.params)
    ]
    columns = [Column("key"), Column("this run"), Column(other.name)]
    return Table(f"Parameters that differ from {other.name}", columns, rows)


def _value(value: Any) -> Cell:
    return Cell(NOT_AVAILABLE) if value is None else Cell(str(value), str(value))


def _n_test(other: Revision) -> int:
    return int(other.metrics["test"].get(STACK, {}).get("n_images", 0))


def _indicators(*joined: Sequence[str]) -> list[np.ndarray]:
    """Convert classes joined by `|`, one text per image, to bool arrays (N, n_classes)."""
    sets = [[set(split_labels(one)) for one in texts] for texts in joined]
    classes = sorted(set().union(*(one for images in sets for one in images)))
    return [
        np.array([[name in one for name in classes] for one in images]).reshape(len(images), -1)
        for images in sets
    ]
