"""Find the classes of which a stage excluded many images, and describe them.

A stage logs these lines, and they stand at the top of the report: a score is not informative about
a class of which half of the images are missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# A larger fraction of a class is a warning.
ACCEPTED_FRACTION = 0.05

MAX_CLASSES = 5  # in a warning; the files and metrics have all

UNREADABLE = "unreadable"

REMEDIES = {
    UNREADABLE: "Repair or convert these files",
    "size": "filter.size.rule: none keeps images of every size",
    "duplicate": "filter.duplicates: group in place of drop keeps duplicates, in one split",
    "conflicting_labels": "Correct the labels of equal images",
}


class Exclusion(NamedTuple):
    """Images that a stage excluded."""

    name: str | None  # name of the class; None for all images
    n_images: int  # with the excluded ones
    reasons: dict[str, int]  # reason -> number of images, without zeros

    @property
    def fraction(self) -> float:
        """The fraction of images that were excluded."""
        return sum(self.reasons.values()) / self.n_images

    def __str__(self) -> str:
        counts = (f"{n:,} {reason.replace('_', ' ')}" for reason, n in self.reasons.items())
        of = "all images" if self.name is None else f"class '{self.name}'"
        n_excluded = sum(self.reasons.values())
        return (
            f"{100 * self.fraction:.1f} % of {of}: {n_excluded:,} of {self.n_images:,} "
            f"({', '.join(counts)})"
        )


def describe_filter(metrics: Mapping[str, Any]) -> str:
    """Count the images that `filter` kept and excluded, by reason, from `metrics/filter.json`."""
    counts = [f"{n:,} {reason.replace('_', ' ')}" for reason, n in metrics["excluded"].items() if n]
    reasons = f" ({', '.join(counts)})" if counts else ""
    kept = f"{metrics['n_kept']:,} of {metrics['n_images']:,} images kept"
    return f"{kept}, {metrics['n_excluded']:,} excluded{reasons}"


def ingest_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Describe the large exclusions in `metrics/ingest.json`; no line if there are none."""
    n_unreadable = metrics["n_unreadable"]
    found = large_exclusions(
        {None: metrics["n_images"], **metrics["images_per_class"]},
        {UNREADABLE: {None: n_unreadable, **metrics["unreadable_per_class"]}},
    )
    warnings = _describe(found, stage="ingest", file="data/ingested/unreadable.csv")
    n_absent = metrics["n_labels_without_image"]
    n_labels = n_absent + sum(metrics["images_per_class"].values())
    if n_absent > ACCEPTED_FRACTION * n_labels:
        warnings += [
            f"{n_absent:,} of {n_labels:,} labels have no image",
            "data/ingested/labels_without_image.csv lists them. Add the images, or remove the "
            "labels.",
        ]
    return warnings


def filter_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Describe the large exclusions in `metrics/filter.json`; no line if there are none.

    Images beyond `limit` do not count: the user asked for the limit, and the report states it.
    """
    by_reason = metrics["excluded_per_reason_and_class"]
    excluded = {
        reason: {None: metrics["excluded"][reason], **by_reason[reason]}
        for reason in by_reason
        if reason != "limit"
    }
    limited = {None: metrics["excluded"]["limit"], **by_reason["limit"]}
    kept = {None: metrics["n_kept"], **metrics["kept_per_class"]}
    found = large_exclusions({name: n + limited[name] for name, n in kept.items()}, excluded)
    return _describe(found, stage="filter", file="data/filtered/excluded.csv")


def split_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Name the classes in `metrics/split.json` that a split lacks; no line if none lacks any."""
    proportions = metrics["class_proportions"]
    lines = []
    for split in ("validation", "test", "calibration"):
        of_split = proportions.get(split, {})
        lacking = [name for name, fraction in of_split.items() if not fraction]
        if lacking:
            shown = ", ".join(f"'{name}'" for name in lacking[:MAX_CLASSES])
            more = f" and {len(lacking) - MAX_CLASSES:,} more" if len(lacking) > MAX_CLASSES else ""
            of = f"{len(lacking):,} of {len(of_split):,} classes"
            lines.append(f"no {split} image has {of}: {shown}{more}")
    if not lines:
        return []
    return [
        "classes are missing in a split, so their scores are unknown",
        *lines,
        "A class that has fewer images (or groups of duplicates) than there are splits is in train "
        "alone. Add images of it, or remove it.",
    ]


def large_exclusions(
    accepted: Mapping[str | None, int], excluded: Mapping[str, Mapping[str | None, int]]
) -> list[Exclusion]:
    """List the classes of which more than `ACCEPTED_FRACTION` of the images were excluded.

    Args:
        accepted: class, or None for all images -> number of images that were not excluded.
        excluded: reason -> class, or None -> number of excluded images.

    Returns:
        All images first, then the classes in order of decreasing fraction.
    """
    found = []
    for name, n_accepted in accepted.items():
        reasons = {reason: of[name] for reason, of in excluded.items() if of.get(name)}
        exclusion = Exclusion(name, n_accepted + sum(reasons.values()), reasons)
        if reasons and exclusion.fraction > ACCEPTED_FRACTION:
            found.append(exclusion)
    return sorted(found, key=lambda item: (item.name is not None, -item.fraction, item.name or ""))


def _describe(exclusions: Sequence[Exclusion], *, stage: str, file: str) -> list[str]:
    """Describe large exclusions: a headline, a line for each class, and what to do."""
    if not exclusions:
        return []
    shown = exclusions[: MAX_CLASSES + 1]
    more = len(exclusions) - len(shown)
    reasons = {reason for exclusion in exclusions for reason in exclusion.reasons}
    remedies = [f"{text}." for reason, text in REMEDIES.items() if reason in reasons]
    return [
        f"{stage} excluded more than {100 * ACCEPTED_FRACTION:g} %",
        *map(str, shown),
        *([f"and more than that of {more:,} other class{'es' * (more > 1)}"] if more else []),
        " ".join([f"{file} lists the images.", *remedies]),
    ]
