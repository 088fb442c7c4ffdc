"""What the filter reads of the image table, and the files it leaves."""

from collections import Counter
from pathlib import Path

from classifold.csv_file import write_rows
from classifold.filtering.selection import Candidate, Selection
from classifold.table import read_columns

COLUMNS = ("id", "labels", "part", "width", "height", "sha256")


def read_candidates(ingested: Path) -> list[Candidate]:
    """Read what the filter needs to know of every image, ordered by id."""
    rows = read_columns(ingested, COLUMNS)
    return sorted(
        Candidate(
            id=row["id"],
            labels=tuple(row["labels"]),
            part=row["part"],
            size=(row["width"], row["height"]),
            sha256=row["sha256"],
        )
        for row in rows
    )


def write_selection(folder: Path, selection: Selection) -> None:
    """Write four tables into `folder`.

    `kept.csv`: id, label, part, group; `excluded.csv`: id, label, reason, measured; `copies.csv`:
    group, id, label, kept; `sizes.csv`: size, outcome, n_images (for the plot).
    """
    write_rows(
        folder / "kept.csv",
        (
            {
                "id": image.id,
                "label": "|".join(image.labels),
                "part": image.part or "",
                "group": selection.groups.get(image.id, ""),
            }
            for image in selection.kept
        ),
        columns=["id", "label", "part", "group"],
    )
    write_rows(
        folder / "excluded.csv",
        (
            {
                "id": item.image.id,
                "label": "|".join(item.image.labels),
                "reason": item.reason,
                "measured": item.measured,
            }
            for item in selection.excluded
        ),
        columns=["id", "label", "reason", "measured"],
    )
    write_rows(
        folder / "copies.csv",
        (
            {
                "group": copy.group,
                "id": copy.image.id,
                "label": "|".join(copy.image.labels),
                "kept": str(copy.kept).lower(),
            }
            for copy in selection.copies
        ),
        columns=["group", "id", "label", "kept"],
    )
    outcomes = [(image.size, "kept") for image in selection.kept]
    outcomes += [(item.image.size, item.reason) for item in selection.excluded]
    counts = Counter(outcomes)
    write_rows(
        folder / "sizes.csv",
        (
            {"size": f"{size[0]}x{size[1]}", "outcome": outcome, "n_images": n_images}
            for (size, outcome), n_images in sorted(
                counts.items(), key=lambda item: (-item[1], item[0])
            )
        ),
        columns=["size", "outcome", "n_images"],
    )
