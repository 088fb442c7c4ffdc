"""Read the labels, splits and groups of the rows of label tables."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from classifold.data.image_table import UNLABELED
from classifold.data.labels import LABEL_SEPARATOR
from classifold.errors import UserError
from classifold.ingest.entries import composed
from classifold.ingest.layout import SourceImage
from classifold.ingest.split_names import SPLIT_NAMES, split_name
from classifold.ingest.table_columns import DECIMAL, NEGATIVE, POSITIVE, Columns
from classifold.ingest.table_files import TableFile

# Cells that mean no label, case-folded: what pandas, R, SQL and Excel write. `None` may be a class.
MISSING = frozenset(("nan", "na", "n/a", "#n/a", "<na>", "null", "nat"))

# What a quote that is not closed does to the next line.
LINE_IN_CELL = re.compile(r"[\r\n].*[,;\t]")

INTEGER = re.compile(r"(-?\d+)(\.0+)?")


class LabelTable(NamedTuple):
    """A table with labels, and its columns."""

    file: TableFile
    columns: Columns

    @property
    def name(self) -> str:
        """The id of the file."""
        return self.file.name


class Rows:
    """The images that rows describe."""

    def __init__(self, task: str, where: str, folder_splits: Mapping[str, str]) -> None:
        """Begin without rows.

        Args:
            task: `single` or `multi`.
            where: name of the source in messages.
            folder_splits: path of a folder, with a slash at its end -> official split.
        """
        self.task = task
        self.where = where
        self.images: dict[str, SourceImage] = {}
        self._listed: dict[str, str] = {}  # image -> the path that lists it
        self._folder_splits = folder_splits
        self._n_joined = 0
        self._empty: Counter[str] = Counter()
        self._n_absent_labels = 0

    def add(
        self, name: str, listed: str, row: str, cells: Sequence[str], table: LabelTable
    ) -> None:
        """Add the image of a row.

        Args:
            name: id of the image.
            listed: its path in the table.
            row: place of the row in the table, such as "line 7".
            cells: in the order of the columns.
            table: the table.

        Raises:
            UserError: if a cell is invalid, or the row contradicts an earlier one.
        """
        columns = table.columns
        at = f"{table.name}: {row}"
        labels = self._labels(cells, table, at)
        if columns.confidence is not None and cells[columns.confidence] in NEGATIVE - {""}:
            self._n_absent_labels += 1
            labels = ()
        split = self._split(name, row, cells, table)
        group = (cells[columns.group] or None) if columns.group is not None else None
        if split == UNLABELED or (self.task == "single" and not labels):
            image = SourceImage(name, (), UNLABELED)
        else:
            image = SourceImage(name, labels, split, group)
        known = self.images.setdefault(name, image)
        first = self._listed.setdefault(name, listed)
        if known == image:
            return
        if self.task == "multi" and known._replace(labels=()) == image._replace(labels=()):
            joined = tuple(sorted({*known.labels, *labels}))
            self.images[name] = known._replace(labels=joined)
            self._n_joined += 1
            return
        also = f" (as {listed!r} and {first!r})" if listed != first else ""
        several = ", or set dataset.task to multi" if known.labels != labels else ""
        raise UserError(
            f"{at} lists {name!r} of {self.where}{also} again with other values. Keep one of the "
            f"two rows{several}."
        )

    def _labels(self, cells: Sequence[str], table: LabelTable, at: str) -> tuple[str, ...]:
        columns = table.columns
        if columns.one_per_class:
            names = []
            for column in columns.labels:
                value = cells[column].casefold()
                if value in POSITIVE:
                    names.append(composed(table.file.columns[column]))
                elif value not in NEGATIVE:
                    raise UserError(
                        f"{at}: the column {table.file.columns[column]!r} of a class must be 0 or "
                        f"1, got {cells[column]!r}. Correct it, or add a column 'label'."
                    )
            return tuple(sorted(names))
        cell = cells[columns.labels[0]]
        if cell.startswith("[") and cell.endswith("]"):
            raise UserError(
                f"{at}: several labels must be separated by {LABEL_SEPARATOR!r}, got {cell!r}. "
                "Correct the column."
            )
        if LINE_IN_CELL.search(cell):
            raise UserError(
                f"{at}: the label seems to hold the next line, got {cell[:80]!r}. Correct the "
                "quotes."
            )
        labels = {composed(label.strip()) for label in cell.split(LABEL_SEPARATOR)} - {""}
        if empty := {label for label in labels if label.casefold() in MISSING}:
            self._empty.update(empty)
            labels -= empty
        return tuple(sorted(labels))

    def _split(self, name: str, row: str, cells: Sequence[str], table: LabelTable) -> str | None:
        columns = table.columns
        for column, held_out in columns.flags.items():
            if cells[column].casefold() in POSITIVE:
                return held_out
        value = cells[columns.split].casefold() if columns.split is not None else ""
        if columns.split is not None and value and value not in MISSING:
            known = split_name(value)
            if known.split is None or known.rest:
                raise UserError(
                    f"{table.name}: the split of {name!r} must be empty or one of "
                    f"{', '.join(SPLIT_NAMES)}, {UNLABELED}, got {value!r}. Correct {row}."
                )
            return known.split
        if columns.flags:
            return "train"
        stem = table.name.rpartition("/")[2].rpartition(".")[0]
        split = split_name(stem).split
        if split is None:
            folder = next((f for f in self._folder_splits if name.startswith(f)), None)
            split = self._folder_splits[folder] if folder else None
        return None if split == UNLABELED else split

    def describe(self) -> list[str]:
        """Describe what was done with special rows, for the log."""
        remarks = []
        labels = {label for image in self.images.values() for label in image.labels}
        joined = [label for label in labels if len(label.split()) > 1
                  and all(part in labels for part in label.split())]  # fmt: skip
        if joined and self.task == "multi":
            remarks.append(
                f"the label {min(joined)!r} consists of other labels: if these are several labels, "
                f"separate them by {LABEL_SEPARATOR!r}"
            )
        if self._empty:
            cells = ", ".join(sorted(self._empty))
            remarks.append(f"{self._empty.total():,} labels are {cells}: read as empty")
        if self._n_joined:
            remarks.append(f"{self._n_joined:,} rows list an image again: their labels are joined")
        if self._n_absent_labels:
            remarks.append(f"{self._n_absent_labels:,} rows have the confidence 0: no label")
        return remarks

    def as_classes(self) -> dict[str, SourceImage]:
        """Return the images, with checked labels; if all are whole numbers, they lose `.0`.

        Raises:
            UserError: if many labels have decimals (measurements are no classes), or a label
                consists of other labels.
        """
        labels = Counter(label for image in self.images.values() for label in image.labels)
        decimals = [label for label in labels if DECIMAL.fullmatch(label)]
        if len(decimals) > 2 and 2 * len(decimals) > len(labels):
            raise UserError(
                f"dataset.path: labels of {self.where} must be classes, got numbers with decimals "
                f"such as {decimals[0]}. Add a column 'label' with classes."
            )
        for label in labels:
            parts = [part.strip() for part in re.split("[;,]", label)]
            if self.task == "multi" and len(parts) > 1 and all(part in labels for part in parts):
                raise UserError(
                    f"dataset.path: several labels in a cell of a table of {self.where} must be "
                    f"separated by {LABEL_SEPARATOR!r}, got {label!r}. Correct the column."
                )
        matches = {label: INTEGER.fullmatch(label) for label in labels}
        if not (all(matches.values()) and any(match and match[2] for match in matches.values())):
            return self.images
        return {
            name: image._replace(
                labels=tuple(sorted({label.partition(".")[0] for label in image.labels}))
            )
            for name, image in self.images.items()
        }
