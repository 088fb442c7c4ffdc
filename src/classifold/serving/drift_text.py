"""Format the result of `classifold drift`: as text, or as JSON."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from classifold.analysis.drift.features import POWER
from classifold.data.json_file import rounded
from classifold.plain_text import plain_text
from classifold.serving.drift import DriftReport


def to_json(report: DriftReport) -> str:
    """Format a report as one JSON object; docs/DRIFT.md describes its keys."""
    drift, images = report.drift, report.images
    content = {
        "drift": drift.found,
        "alpha": drift.alpha,
        "reference_split": report.split,
        "n_reference_images": len(images.reference.names),
        "n_new_images": len(images.new.names),
        "n_given": report.n_new,
        "n_unreadable": report.n_unreadable,
        "n_duplicates_of_reference": images.n_duplicates_of_reference,
        "n_excluded_duplicates": images.n_excluded,
        "features": drift.features.summary(),
        "classes": drift.classes,
        "properties": drift.properties,
        "most_different": report.most_different,
    }
    short = json.loads(json.dumps(content), parse_float=lambda number: rounded(float(number)))
    return json.dumps(short, indent=2)


def to_text(report: DriftReport) -> str:
    """Format a report as lines."""
    return "\n".join(plain_text(line) for line in _lines(report))


def _lines(report: DriftReport) -> Iterator[str]:
    drift, images = report.drift, report.images
    n_new, n_reference = len(images.new.names), len(images.reference.names)
    yield f"{n_new:,} new images are compared with {n_reference:,} {report.split} images."
    not_compared = {
        "unreadable": report.n_unreadable,
        "duplicates of images that are": images.n_excluded,
    }
    if any(not_compared.values()):
        counts = (f"{count:,} {name}" for name, count in not_compared.items() if count)
        yield f"Not compared: {', '.join(counts)}."
    if n_duplicates := images.n_duplicates_of_reference:
        yield f"{n_duplicates:,} new images are duplicates of {report.split} images."
    features = drift.features
    low, high = features.auroc_ci95
    yield (
        f"Features: {_p(features.p_value, drift.alpha)}. AUROC of the classifier that "
        f"distinguishes the sets: {features.auroc:.3f} ({low:.3f} to {high:.3f}; 0.5 or less is no "
        "better than chance)."
    )
    yield (
        f"  With so many images, an AUROC of {features.detectable_auroc:.2f} or more is found in "
        f"at least {100 * POWER:.0f} % of cases."
    )
    yield from _table("Predicted classes", drift.classes, drift.alpha, "fraction", _percentages)
    yield from _table("Properties", drift.properties, drift.alpha, "mean", "{:.3g}".format)
    if report.most_different:
        yield (
            f"Most different new images (score: fraction of {report.split} images that are less "
            "like the new ones):"
        )
        for row in report.most_different:
            predicted = ", ".join(row["predicted"]) or "no class"
            yield f"  {row['score']:.2f}  {row['image']}  ({predicted})"
    yield _conclusion(report)


def _table(
    title: str,
    compared: dict[str, dict[str, Any]],
    alpha: float,
    column: str,
    show: Callable[[float], str],
) -> Iterator[str]:
    shifted = {name: row for name, row in compared.items() if row["p_value"] <= alpha}
    lowest = min(row["p_value"] for row in compared.values())
    yield f"{title}: {_p(lowest, alpha)}."
    for name, row in shifted.items():
        reference, new = (show(row[f"{which}_{column}"]) for which in ("reference", "new"))
        low, high = (show(end) for end in row["difference_ci95"])
        difference = show(row["difference"])
        yield f"  {name}: {reference} -> {new}, difference {difference} ({low} to {high})"


def _percentages(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _p(p_value: float, alpha: float) -> str:
    return f"{'a difference' if p_value <= alpha else 'no difference found'}, p = {p_value:.2g}"


def _conclusion(report: DriftReport) -> str:
    if not report.drift.found:
        return (
            f"No drift found at a false alarm rate of {report.drift.alpha:g}; smaller differences "
            "than the one above may exist."
        )
    return (
        f"Drift: the new images are not like the {report.split} images, so the scores measured on "
        "those may not hold for them."
    )
