"""Read the candidates from the image table, write the tables of the filter."""

from collections import Counter
from pathlib import Path

from classifold.data.csv_file import write_rows
from classifold.data.image_table import iter_columns
from classifold.data.labels import join_labels
from classifold.filtering.selection import Candidate, Selection

COLUMNS = (
    *("id", "labels", "split", "group", "width", "height"),
    *("sha256", "perceptual_hash"),
)


def read_candidates(ingested: Path) -> list[Candidate]:
    """Read the columns of every image that the filter uses, ordered by id."""
    images = [
        Candidate(
            id=row["id"],
            labels=tuple(row["labels"]),
            split=row["split"],
            group=row["group"],
            size=(row["width"], row["height"]),
            sha256=row["sha256"],
            perceptual_hash=row["perceptual_hash"],
        )
        for row in iter_columns(ingested, COLUMNS)
    ]
    return sorted(images, key=lambda image: image.id)


def write_selection(folder: Path, selection: Selection) -> None:
    """Write five tables into `folder`; several labels are joined by `|`.

    `kept.csv`: id, label, split, group; `excluded.csv`: id, label, reason, measured;
    `duplicates.csv`: group, id, label, split, kind, kept. For the plots, with
    n_images: `sizes.csv`: size, outcome; `classes.csv`: class, outcome.
    """
    write_rows(
        folder / "kept.csv",
        (
            {
                "id": image.id,
                "label": join_labels(image.labels),
                "split": image.split or "",
                "group": selection.groups.get(image.id, ""),
            }
            for image in selection.kept
        ),
        columns=["id", "label", "split", "group"],
    )
    write_rows(
        folder / "excluded.csv",
        (
            {
                "id": item.image.id,
                "label": join_labels(item.image.labels),
                "reason": item.reason,
                "measured": item.measured,
            }
            for item in selection.excluded
        ),
        columns=["id", "label", "reason", "measured"],
    )
    write_rows(
        folder / "duplicates.csv",
        (
            {
                "group": item.group,
                "id": item.image.id,
                "label": join_labels(item.image.labels),
                "split": item.image.split or "",
                "kind": item.kind,
                "kept": str(item.kept).lower(),
            }
            for item in selection.duplicates
        ),
        columns=["group", "id", "label", "split", "kind", "kept"],
    )
    outcomes = [(image, "kept") for image in selection.kept]
    outcomes += [(item.image, item.reason) for item in selection.excluded]
    sizes = Counter((f"{image.size[0]}x{image.size[1]}", outcome) for image, outcome in outcomes)
    classes = Counter((label, outcome) for image, outcome in outcomes for label in image.labels)
    _write_counts(folder / "sizes.csv", sizes, columns=["size", "outcome", "n_images"])
    _write_counts(folder / "classes.csv", classes, columns=["class", "outcome", "n_images"])


def _write_counts(path: Path, counts: Counter[tuple[str, str]], *, columns: list[str]) -> None:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = (dict(zip(columns, (*names, count), strict=True)) for names, count in ordered)
    write_rows(path, rows, columns=columns, plotted=True)
