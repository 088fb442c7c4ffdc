"""The most confident mistakes of the stack."""

from collections.abc import Iterator, Mapping
from typing import Any

from classifold.data.labels import format_labels
from classifold.data.predictions import STACK
from classifold.pictures.examples import shorten
from classifold.reporting.facts import Facts
from classifold.reporting.formats import percent
from classifold.reporting.pictures import MAX_CHARACTERS, Picture, thumbnails

MAX_MISTAKES = 12  # per gallery


def mistakes(facts: Facts) -> Iterator[tuple[str, list[Picture]]]:
    """Show the most confident mistakes of the stack, in galleries with a title."""
    groups = {"": facts.mistakes}
    if facts.task == "multi":
        groups = {
            "False negatives": [row for row in facts.mistakes if row["positive"] == "true"],
            "False positives": [row for row in facts.mistakes if row["positive"] == "false"],
        }
    predictions = {row["id"]: row for row in facts.predictions[STACK]}
    picture = _mistake if facts.task == "single" else _multi_label_mistake
    for title, rows in groups.items():
        shown = rows[:MAX_MISTAKES]
        uris = thumbnails(facts.folders.ingested, [row["id"] for row in shown])
        if shown:
            yield title, [picture(uris[row["id"]], row, predictions[row["id"]]) for row in shown]


def _mistake(uri: str, row: Mapping[str, str], prediction: Mapping[str, Any]) -> Picture:
    lines = [
        f"predicted: {row['predicted']} (probability {percent(float(row['probability']))})",
        f"actual: {row['label']} (probability {percent(prediction['label_probability'])})",
        row["id"],
    ]
    alt = f"{row['id']}, labeled {row['label']}, predicted {row['predicted']}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in lines])


def _multi_label_mistake(
    uri: str, row: Mapping[str, str], prediction: Mapping[str, Any]
) -> Picture:
    actual, predicted = (format_labels(prediction[key]) for key in ("label", "predicted"))
    lines = [
        f"{row['class']} (probability {percent(float(row['probability']))})",
        f"actual: {actual}",
        f"predicted: {predicted}",
        row["id"],
    ]
    alt = f"{row['id']}, labeled {actual}, predicted {predicted}"
    return Picture(uri, alt, [shorten(line, MAX_CHARACTERS) for line in lines])
