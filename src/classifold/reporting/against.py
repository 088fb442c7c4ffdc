"""A run beside another one: what was changed, what it changed, and whether chance could do that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from classifold.data.image_table import LABEL_SEPARATOR
from classifold.evaluation.intervals import gain_interval, mcnemar, micro_f1_gain_interval
from classifold.reporting.facts import MAJORITY, STACK, Facts
from classifold.reporting.measures import NOTHING, Measure, count, probability_of_chance
from classifold.reporting.revision import Revision
from classifold.reporting.tables import Cell, Column, Table
from classifold.reporting.wording import SIGNIFICANCE

Rows = Sequence[Mapping[str, Any]]

# Key in a file of metrics -> what it counts.
COUNTS = {
    ("ingest", "n_images"): "images read",
    ("ingest", "n_unreadable"): "unreadable files",
    ("ingest", "n_classes"): "classes",
    ("filter", "n_excluded"): "left out by the filter",
    ("split", "n_train"): "training images",
    ("augment", "n_images"): "the same, with their copies",
    ("split", "n_validation"): "validation images",
    ("split", "n_test"): "test images",
}


class Difference(NamedTuple):
    """One model here and there, on test images that are the same."""

    n_images: int
    difference: float  # here minus there
    ci95: list[float]
    p_value: float | None  # of the exact McNemar test; None for several labels


class Comparison(NamedTuple):
    """What the page tells of another revision."""

    name: str
    commit: str
    sentence: str
    scores: Table
    counts: Table  # only what differs
    params: Table  # only what differs


def compare(facts: Facts, other: Revision) -> Comparison:
    """Set this run beside another one.

    Differences are paired: of the images that are test images of both runs, with the same labels,
    so neither run has learnt from them.

    Args:
        facts: of this run.
        other: the other one.
    """
    differences = _differences(facts, other)
    return Comparison(
        other.name,
        other.commit,
        _sentence(facts, other, differences),
        _scores(facts, other, differences),
        _counts(facts, other),
        _params(facts.params, other),
    )


def changed_keys(
    here: Any, there: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, Any, Any]]:
    """Go through what two nested mappings do not share: dotted key, value here, value there.

    A key that one of the two lacks has None there, however much stands below it.
    """
    if not (isinstance(here, Mapping) and isinstance(there, Mapping)):
        if here != there:
            yield ".".join(path), here, there
        return
    for key in {**there, **here}:
        yield from changed_keys(here.get(key), there.get(key), (*path, str(key)))


def paired(here: Rows, there: Rows, *, task: str, resamples: int, seed: int) -> Difference | None:
    """The difference of two models on the images that both answered; None if there are none.

    Args:
        here: rows of predictions.parquet, of one model.
        there: of the other.
        task: single or multi.
        resamples: of the bootstrap.
        seed: of the draws.
    """
    others = {(row["id"], row["label"]): row for row in there}
    pairs = [(row, others[key]) for row in here if (key := (row["id"], row["label"])) in others]
    if not pairs:
        return None
    draws = {"resamples": resamples, "seed": seed}
    if task == "single":
        ours, theirs = (
            np.array([pair[side]["predicted"] == pair[side]["label"] for pair in pairs])
            for side in (0, 1)
        )
        ci95 = gain_interval(ours, theirs, **draws)
        p_value = mcnemar(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))
        return Difference(len(pairs), float(ours.mean() - theirs.mean()), ci95, p_value)
    labels, answers, reference = _indicators(
        [row["label"] for row, _ in pairs],
        [row["predicted"] for row, _ in pairs],
        [row["predicted"] for _, row in pairs],
    )
    difference = _micro_f1(answers, labels) - _micro_f1(reference, labels)
    ci95 = micro_f1_gain_interval(answers, reference, labels, **draws)
    return Difference(len(pairs), difference, ci95, None)


def _differences(facts: Facts, other: Revision) -> dict[str, Difference]:
    """Model -> its difference, of those that both runs have."""
    if other.answers is None:
        return {}
    draws = facts.params["evaluate"]["bootstrap"]
    found = {
        name: paired(rows, other.answers[name], task=facts.task, **draws)
        for name, rows in facts.answers.items()
        if name in other.answers
    }
    return {name: difference for name, difference in found.items() if difference}


def _sentence(facts: Facts, other: Revision, differences: Mapping[str, Difference]) -> str:
    measure = facts.measure
    n_there = _n_test(other)
    if not facts.n_test or not n_there:
        return "One of the two has no test images, so their scores cannot be compared."
    if other.params["dataset"]["task"] != facts.task:
        return "One has one label an image, the other several: their scores cannot be compared."
    if other.answers is None:
        return (
            f"The answers of {other.name} are not in DVC's cache ('dvc fetch --all-commits' brings "
            "them from a remote), so it is not known whether both were measured on the same "
            "images, and no difference can be told."
        )
    if STACK not in differences:
        return "The two have no test image in common, so their scores cannot be compared."
    stack = differences[STACK]
    images = f"the same {count(stack.n_images, 'test image')}"
    if not stack.n_images == facts.n_test == n_there:
        images = (
            f"the {count(stack.n_images, 'test image')} that both have, of {facts.n_test:,} here "
            f"and {n_there:,} there"
        )
    low, high = stack.ci95
    if stack.difference == low == high == 0:
        return f"On {images} the stack scores just as that of {other.name} does."
    chance = probability_of_chance(stack.p_value) if stack.p_value is not None else ""
    apart = stack.p_value < SIGNIFICANCE if stack.p_value is not None else low > 0 or high < 0
    return (
        f"On {images} the stack differs from that of {other.name} by "
        f"{measure.difference(stack.difference)}{' points' if measure.unit else ''} (95 % interval "
        f"{measure.differences(stack.ci95)}{', exact McNemar test ' + chance if chance else ''}). "
        f"{'That is more than chance would do.' if apart else 'Chance alone could do that.'}"
    )


def _scores(facts: Facts, other: Revision, differences: Mapping[str, Difference]) -> Table:
    measure = facts.measure
    here, there = facts.metrics["test"], other.metrics["test"]
    names = [name for name in {**there, **here} if name not in (STACK, MAJORITY)]
    columns = [
        Column("model"),
        Column(measure.words, numeric=True, subtitle="here"),
        Column(measure.words, numeric=True, subtitle=other.name),
        Column("difference", numeric=True, subtitle=measure.unit, hint="on test images of both"),
    ]
    rows = [
        [
            Cell(name.replace("_", " ") if name == MAJORITY else name, name),
            _score(here.get(name), measure),
            _score(there.get(name), measure),
            _difference(differences.get(name), measure),
        ]
        for name in [*names, STACK, MAJORITY]
    ]
    caption = f"Test scores here and at {other.name}"
    return Table(caption, columns, rows, highlighted=frozenset({STACK}))


def _score(tested: Mapping[str, Any] | None, measure: Measure) -> Cell:
    value = (tested or {}).get(measure.key)
    n_images = (tested or {}).get("n_images", 0)
    ends = (tested or {}).get(f"{measure.key}_ci95")
    note = measure.interval(ends, n_images=n_images) if ends else ""
    return Cell(measure.score(value, n_images=n_images), value, note)


def _difference(found: Difference | None, measure: Measure) -> Cell:
    if found is None:
        return Cell(NOTHING)
    note = measure.differences(found.ci95)
    return Cell(measure.difference(found.difference), found.difference, note)


def _counts(facts: Facts, other: Revision) -> Table:
    rows = []
    for (file, key), words in COUNTS.items():
        here, there = (metrics[file].get(key) for metrics in (facts.metrics, other.metrics))
        if here != there:
            rows.append([Cell(words, words), _number(here), _number(there)])
    columns = [
        Column("of the data"),
        Column("here", numeric=True),
        Column(other.name, numeric=True),
    ]
    return Table(f"What differs from {other.name} in the data", columns, rows)


def _params(here: Mapping[str, Any], other: Revision) -> Table:
    rows = [
        [Cell(key, key), _value(ours), _value(theirs)]
        for key, ours, theirs in changed_keys(here, other.params)
    ]
    columns = [Column("key"), Column("here"), Column(other.name)]
    return Table(f"What differs from {other.name} in params.yaml", columns, rows)


def _value(value: Any) -> Cell:
    return Cell(NOTHING) if value is None else Cell(str(value), str(value))


def _number(number: int | None) -> Cell:
    return Cell(NOTHING) if number is None else Cell(f"{number:,}", number)


def _n_test(other: Revision) -> int:
    return int(other.metrics["test"].get(STACK, {}).get("n_images", 0))


def _indicators(*told: Sequence[str]) -> list[np.ndarray]:
    """Classes joined by `|`, an image each, as bool arrays (N, n_classes) of the same columns."""
    sets = [[set(filter(None, one.split(LABEL_SEPARATOR))) for one in joined] for joined in told]
    classes = sorted(set().union(*(one for images in sets for one in images)))
    return [
        np.array([[name in one for name in classes] for one in images]).reshape(len(images), -1)
        for images in sets
    ]


def _micro_f1(answers: np.ndarray, labels: np.ndarray) -> float:
    borne = int(answers.sum() + labels.sum())
    return 2 * int((answers & labels).sum()) / borne if borne else 0.0
