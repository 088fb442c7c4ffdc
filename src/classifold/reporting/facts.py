"""Read the outputs of the stages that the report shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from classifold.data.csv_file import read_rows
from classifold.data.exclusions import filter_warnings, ingest_warnings, split_warnings
from classifold.data.image_table import iter_columns
from classifold.data.json_file import read_json
from classifold.data.predictions import STACK, read_predictions
from classifold.reporting.formats import MAIN_METRICS, MainMetric
from classifold.reporting.overlap import weights_warnings

METRICS = (
    *("ingest", "filter", "split", "augment", "models", "stack", "test"),
    *("pca", "tsne", "novelty", "robustness", "explain"),
)

# In the order of the pipeline; `train`, with one file per model, comes between the two.
DATA_STAGES = ("ingest", "filter", "split", "augment")
MODEL_STAGES = (
    *("compare", "stack", "evaluate"),
    *("pca", "tsne", "novelty", "robustness", "explain"),
)

Rows = list[dict[str, str]]


class Folders(NamedTuple):
    """The folders that the stages write to."""

    ingested: Path
    filtered: Path
    augmented: Path  # the pack of training images
    compared: Path
    ensemble: Path
    evaluated: Path
    pca: Path
    tsne: Path
    robustness: Path
    explained: Path
    metrics: Path
    timings: Path

    @classmethod
    def of(cls, root: Path) -> "Folders":
        """Build the paths of the pipeline in `root`."""
        data = root / "data"
        return cls(
            ingested=data / "ingested",
            filtered=data / "filtered",
            augmented=data / "augmented/train",
            compared=data / "compared",
            ensemble=root / "ensemble",
            evaluated=data / "evaluated",
            pca=data / "pca",
            tsne=data / "tsne",
            robustness=data / "robustness",
            explained=data / "explained",
            metrics=root / "metrics",
            timings=root / "timings",
        )


class Facts(NamedTuple):
    """Parameters and results of a run."""

    folders: Folders
    params: Mapping[str, Any]
    params_text: str  # the text of params.yaml, with comments
    metrics: dict[str, dict[str, Any]]  # name of the file -> its content
    conversions: Rows  # kind, n_images: original formats
    unreadable: Rows  # id, reason
    excluded: Rows  # id, label, reason, measured
    duplicates: Rows  # group, id, label, split, kind, kept
    sizes: Rows  # size, outcome, n_images
    label_errors: Rows  # the most probable ones, of training images
    history: Rows  # learning curves in long form
    confusion: Rows  # actual, predicted: one row per test image, of the stack
    per_class: Rows  # rows of the stack
    calibration: Rows  # rows of the stack
    slices: Rows  # rows of the stack
    set_rows: Rows  # coverage of prediction sets: rows of the stack
    risk_coverage: Rows  # rows of all models
    mistakes: Rows  # the most confident ones of the stack
    precision_recall: Rows  # rows of the stack; empty with one label per image
    predictions: dict[str, list[dict[str, Any]]]  # model, or the stack -> its rows on test images
    components: Rows  # channel, component, two fractions
    maps: Rows  # the chosen t-SNE maps: space, id, label, x, y
    severities: Rows  # scores of all models under corruptions, by severity
    attacks: Rows  # scores of all models on attacked images
    neighbors: Rows  # the training images that are nearest to each explained image
    weights: dict[str, dict[str, Any] | None]  # model -> published weights, None for random ones
    image_ids: list[str]  # ids of all images
    seconds: dict[str, float]  # stage -> running time, in the order of the pipeline

    @property
    def warnings(self) -> list[list[str]]:
        """What makes scores misleading, several lines each: a headline and details."""
        warnings = (
            ingest_warnings(self.metrics["ingest"]),
            filter_warnings(self.metrics["filter"]),
            split_warnings(self.metrics["split"]),
            weights_warnings(self.weights, self.image_ids),
        )
        return [lines for lines in warnings if lines]

    @property
    def task(self) -> str:
        """Whether images have one label (`single`) or any number of labels (`multi`)."""
        return str(self.params["dataset"]["task"])

    @property
    def main_metric(self) -> MainMetric:
        """The metric by which models are compared."""
        return MAIN_METRICS[self.task]

    @property
    def models(self) -> list[str]:
        """Names of the models of params.yaml, in their order."""
        return list(self.params["models"])

    @property
    def classes(self) -> list[str]:
        """Names of all classes, in their order."""
        return list(self.metrics["ingest"]["images_per_class"])

    @property
    def n_test(self) -> int:
        """The number of test images; may be 0."""
        return int(self.metrics["test"][STACK]["n_images"])

    @property
    def threshold(self) -> float | None:
        """The threshold of the stack; None with one label per image or without test images."""
        thresholds = [row["threshold"] for row in self.per_class if "threshold" in row]
        return float(thresholds[0]) if thresholds else None

    @property
    def best_on_test(self) -> str | None:
        """The model with the best score on test images; of equal ones the first."""
        if not self.n_test:
            return None
        test, key = self.metrics["test"], self.main_metric.key
        return max(self.models, key=lambda name: test[name][key])


def read_facts(folders: Folders, *, params: Mapping[str, Any], params_text: str) -> Facts:
    """Read everything that the report shows.

    Args:
        folders: that the stages wrote to.
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
        duplicates=read_rows(folders.filtered / "duplicates.csv"),
        sizes=read_rows(folders.filtered / "sizes.csv"),
        label_errors=_read_optional(folders.ensemble / "label_errors.csv"),
        history=read_rows(folders.compared / "history.csv"),
        confusion=read_rows(folders.evaluated / "confusion.csv"),
        per_class=_of_stack(read_rows(folders.evaluated / "per_class.csv")),
        calibration=_of_stack(read_rows(folders.evaluated / "calibration.csv")),
        slices=_of_stack(read_rows(folders.evaluated / "slices.csv")),
        set_rows=_of_stack(read_rows(folders.evaluated / "prediction_sets.csv")),
        risk_coverage=read_rows(folders.evaluated / "risk_coverage.csv"),
        mistakes=read_rows(folders.evaluated / "mistakes.csv"),
        precision_recall=[],
        predictions={},
        components=read_rows(folders.pca / "explained.csv"),
        maps=read_rows(folders.tsne / "chosen.csv"),
        severities=read_rows(folders.robustness / "severities.csv"),
        attacks=read_rows(folders.robustness / "attacks.csv"),
        neighbors=read_rows(folders.explained / "neighbors.csv"),
        weights=read_json(folders.compared / "weights.json"),
        image_ids=[row["id"] for row in iter_columns(folders.ingested, ["id"])],
        seconds=_read_seconds(folders.timings, list(params["models"])),
    )
    if facts.task == "multi":
        curves = read_rows(folders.evaluated / "precision_recall.csv")
        facts = facts._replace(precision_recall=curves)
    if not facts.n_test:
        return facts
    predictions = folders.evaluated / "predictions.parquet"
    return facts._replace(
        predictions={
            name: read_predictions(predictions, model=name) for name in (*facts.models, STACK)
        }
    )


def _read_optional(path: Path) -> Rows:
    return read_rows(path) if path.is_file() else []


def _of_stack(rows: Rows) -> Rows:
    return [row for row in rows if row["model"] == STACK]


def _read_seconds(timings: Path, models: list[str]) -> dict[str, float]:
    """Read the running time of each stage, except those without a file (interrupted runs)."""
    names = [*DATA_STAGES, *(f"train/{name}" for name in models), *MODEL_STAGES]
    return {
        name: float(read_json(path)["seconds"])
        for name in names
        if (path := timings / f"{name}.json").is_file()
    }
