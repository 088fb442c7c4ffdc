"""Everything the page tells, read from what the stages left."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.predictions import read_predictions
from classifold.reporting.measures import MEASURES, Measure

# Entries of metrics/test.json that are no listed model.
STACK = "stack"
MAJORITY = "majority_baseline"

METRICS = (
    *("ingest", "filter", "split", "augment", "models", "stack", "test"),
    *("pca", "tsne", "explain"),
)

# In the order of the pipeline; after `augment` comes `train`, with one file a model.
DATA_STAGES = ("ingest", "filter", "split", "augment")
MODEL_STAGES = ("compare", "stack", "evaluate", "pca", "tsne", "explain")

Rows = list[dict[str, str]]


class Folders(NamedTuple):
    """Where the stages left what the page shows."""

    ingested: Path
    filtered: Path
    augmented: Path  # the pack of training images
    compared: Path
    evaluated: Path
    pca: Path
    tsne: Path
    explained: Path
    metrics: Path
    timings: Path

    @classmethod
    def of(cls, root: Path) -> "Folders":
        """Those of the pipeline in `root`."""
        data = root / "data"
        return cls(
            ingested=data / "ingested",
            filtered=data / "filtered",
            augmented=data / "augmented/train",
            compared=data / "compared",
            evaluated=data / "evaluated",
            pca=data / "pca",
            tsne=data / "tsne",
            explained=data / "explained",
            metrics=root / "metrics",
            timings=root / "timings",
        )


class Facts(NamedTuple):
    """What a run was, and what came of it."""

    folders: Folders
    params: Mapping[str, Any]
    params_text: str  # the file as its owner wrote it, comments too
    metrics: dict[str, dict[str, Any]]  # name of the file -> its content
    conversions: Rows  # kind, n_images: how images came
    unreadable: Rows  # id, reason
    excluded: Rows  # id, label, reason, measured
    copies: Rows  # group, id, label, part, kind, kept
    sizes: Rows  # size, outcome, n_images
    history: Rows  # learning curves in long form
    confusion: Rows  # actual, predicted: a row a test image, of the stack
    per_class: Rows  # of the stack
    calibration: Rows  # of the stack
    slices: Rows  # of the stack
    mistakes: Rows  # the stack's surest
    precision_recall: Rows  # the stack's curves; none with one label an image
    answers: dict[str, list[dict[str, Any]]]  # model, or the stack -> its rows on test images
    components: Rows  # channel, component, two shares
    maps: Rows  # the chosen t-SNE maps: space, id, label, x, y
    seconds: dict[str, float]  # stage -> time it took, in the order of the pipeline

    @property
    def task(self) -> str:
        """Whether images bear one label (`single`) or any number of them (`multi`)."""
        return str(self.params["dataset"]["task"])

    @property
    def measure(self) -> Measure:
        """By what models are compared."""
        return MEASURES[self.task]

    @property
    def models(self) -> list[str]:
        """Names of the listed models, in their order."""
        return list(self.params["models"])

    @property
    def classes(self) -> list[str]:
        """Names of all classes, in their order."""
        return list(self.metrics["ingest"]["images_per_class"])

    @property
    def n_test(self) -> int:
        """How many test images there are; may be none."""
        return int(self.metrics["test"][STACK]["n_images"])

    @property
    def threshold(self) -> float | None:
        """Of the stack, with several labels an image and test images: fitted on validation."""
        thresholds = [row["threshold"] for row in self.per_class if "threshold" in row]
        return float(thresholds[0]) if thresholds else None

    @property
    def best_on_test(self) -> str | None:
        """The listed model that is best on test images; of equals the first listed."""
        if not self.n_test:
            return None
        test, key = self.metrics["test"], self.measure.key
        return max(self.models, key=lambda name: test[name][key])


def read_facts(folders: Folders, *, params: Mapping[str, Any], params_text: str) -> Facts:
    """Read all that the page tells.

    Args:
        folders: where the stages left it.
        params: content of `params.yaml`.
        params_text: the same file as text.
    """
    facts = Facts(
        folders=folders,
        params=params,
        params_text=params_text,
        metrics={name: read_json(folders.metrics / f"{name}.json") for name in METRICS},
        conversions=read_rows(folders.ingested / "conversions.csv"),
        unreadable=read_rows(folders.ingested / "unreadable.csv"),
        excluded=read_rows(folders.filtered / "excluded.csv"),
        copies=read_rows(folders.filtered / "duplicates.csv"),
        sizes=read_rows(folders.filtered / "sizes.csv"),
        history=read_rows(folders.compared / "history.csv"),
        confusion=read_rows(folders.evaluated / "confusion.csv"),
        per_class=_of_stack(read_rows(folders.evaluated / "per_class.csv")),
        calibration=_of_stack(read_rows(folders.evaluated / "calibration.csv")),
        slices=_of_stack(read_rows(folders.evaluated / "slices.csv")),
        mistakes=read_rows(folders.evaluated / "mistakes.csv"),
        precision_recall=[],
        answers={},
        components=read_rows(folders.pca / "explained.csv"),
        maps=read_rows(folders.tsne / "chosen.csv"),
        seconds=_read_seconds(folders.timings, list(params["models"])),
    )
    if facts.task == "multi":
        curves = read_rows(folders.evaluated / "precision_recall.csv")
        facts = facts._replace(precision_recall=curves)
    if not facts.n_test:
        return facts
    predictions = folders.evaluated / "predictions.parquet"
    return facts._replace(
        answers={name: read_predictions(predictions, model=name) for name in (*facts.models, STACK)}
    )


def _of_stack(rows: Rows) -> Rows:
    return [row for row in rows if row["model"] == STACK]


def _read_seconds(timings: Path, models: list[str]) -> dict[str, float]:
    """Read the time of each stage; one whose file is missing (an interrupted run) is left out."""
    names = [*DATA_STAGES, *(f"train/{name}" for name in models), *MODEL_STAGES]
    return {
        name: float(read_json(path)["seconds"])
        for name in names
        if (path := timings / f"{name}.json").is_file()
    }
