"""Section "Split": number of images and class proportions of each split."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifold.reporting.facts import Facts
from classifold.reporting.tables import Cell, Column, Table, number_cell, percent_cell

SPLITS = ("train", "validation", "test", "calibration")  # the last one is optional


def split_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    metrics = facts.metrics["split"]
    return {
        "split_sizes": split_sizes_table(metrics),
        "class_proportions": class_proportions_table(metrics, facts.classes),
    }


def split_sizes_table(split_metrics: Mapping[str, Any]) -> Table:
    """Tabulate the number of images in each split."""
    splits = [split for split in SPLITS if f"n_{split}" in split_metrics]
    total = sum(split_metrics[f"n_{split}"] for split in splits)
    rows = [
        [
            Cell(split, split),
            number_cell(split_metrics[f"n_{split}"]),
            percent_cell(split_metrics[f"n_{split}"] / max(total, 1), n_images=total),
        ]
        for split in splits
    ]
    columns = [Column("split"), Column("images", numeric=True), Column("fraction", numeric=True)]
    return Table("Images in each split", columns, rows)


def class_proportions_table(split_metrics: Mapping[str, Any], classes: Sequence[str]) -> Table:
    """Tabulate the proportion of each class in each split, and the largest difference."""
    splits = [split for split in SPLITS if split_metrics["class_proportions"].get(split)]
    rows = []
    for name in classes:
        proportions = [split_metrics["class_proportions"][split].get(name, 0.0) for split in splits]
        gap = max(proportions) - min(proportions)
        rows.append(
            [
                Cell(name, name),
                *(
                    percent_cell(proportion, n_images=split_metrics[f"n_{split}"])
                    for proportion, split in zip(proportions, splits, strict=True)
                ),
                Cell(f"{gap * 100:.2f}", gap),
            ]
        )
    columns = [
        Column("class"),
        *(
            Column(split, numeric=True, subtitle=f"{split_metrics[f'n_{split}']:,} images")
            for split in splits
        ),
        Column("largest gap", numeric=True, subtitle="points", hint="between any two splits"),
    ]
    return Table("Class proportions in each split", columns, rows)
