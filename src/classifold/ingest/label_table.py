"""Read the layout `table`: images, and files with their paths and labels.

Columns: `path`; `label` or `labels` (several separated by `|`), or one column of 0 and 1 per class;
optional `split` and `group`. Hugging Face's `metadata.csv` and the tables of most competitions need
no changes.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from classifold.data.image_table import LABEL_SEPARATOR, UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.files import Files
from classifold.ingest.folder_tree import folder_tree, skip_wrapping
from classifold.ingest.layout import Source, SourceImage, settle_splits
from classifold.ingest.listed_paths import ListedPaths, Match
from classifold.ingest.split_names import SPLIT_NAMES, official_splits, split_name, words
from classifold.ingest.table_columns import (
    DECIMAL,
    NEGATIVE,
    POSITIVE,
    Columns,
    are_named,
    describe_columns,
    find_columns,
)
from classifold.ingest.table_files import EXTENSIONS, TableFile
from classifold.ingest.tree import Tree

# Cells that mean no label: what pandas, R, SQL and Excel write. `None` may be a class.
MISSING = frozenset(
    ("nan", "NaN", "NAN", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "NaT")
)

# What a quote that is not closed does to the next line.
LINE_IN_CELL = re.compile(r"[\r\n].*[,;\t]")

INTEGER = re.compile(r"(-?\d+)(\.0+)?")


UNLISTED = "images are in no row: unlabeled"


class LabelTable(NamedTuple):
    """A table with labels, and its columns."""

    file: TableFile
    columns: Columns

    @property
    def name(self) -> str:
        """The id of the file."""
        return self.file.name


class Tables(NamedTuple):
    """The tables in a tree."""

    labels: list[LabelTable]
    unused: list[NotRead]  # other tables, and the reasons
    failures: list[UserError]  # of tables that could not be read
    paths: ListedPaths

    @property
    def are_named(self) -> bool:
        """Whether columns are named after paths and labels, and not recognized by content."""
        return any(table.columns.named for table in self.labels)


class NoImageListedError(UserError):
    """Raised for tables that list no image of the source."""


def find_tables(tree: Tree, files: Files) -> Tables:
    """Find the tables with a column of paths and labels.

    If the columns of a table are named so, tables in which they are recognized by their content
    are not used.

    Args:
        tree: where the files are.
        files: of the tree.

    Raises:
        UserError: if a table cannot be read, although its columns are named after paths and
            labels.
    """
    found: list[LabelTable] = []
    unused: list[NotRead] = []
    failures: list[UserError] = []
    names = files.named(*EXTENSIONS)
    paths = ListedPaths(files.images if names else [])
    for name in names:
        if _is_submission(name):
            unused.append(NotRead(name, "predictions to be submitted are not labels"))
            continue
        folder = name.rpartition("/")[0]
        file: TableFile | None = None
        try:
            file = TableFile(tree, name)
            columns = find_columns(file, partial(paths.has, folder=folder))
        except UserError as error:
            if file is not None and are_named(file.columns):
                raise
            failures.append(error)
            unused.append(NotRead(name, str(error)))
            continue
        if isinstance(columns, str):
            unused.append(NotRead(name, f"{columns}, but {', '.join(file.columns)[:80]!r}"))
        else:
            found.append(LabelTable(file, columns))
    if any(table.columns.named for table in found):
        unused += [
            NotRead(table.name, "the columns of another table are named after labels")
            for table in found
            if not table.columns.named
        ]
        found = [table for table in found if table.columns.named]
    return Tables(found, unused, failures, paths)


def read_tables(tables: Tables, files: Files, *, task: str, where: str) -> Source:
    """Find the images and their labels in the tables.

    Paths are relative to the folder of the table, or to the root; `ListedPaths` accepts other
    forms. A table or a folder named after a split (`train.csv`, `test/`) assigns its images to that
    split. An empty label means, in `single`, unlabeled, and in `multi` an image without a label;
    an image in no table is unlabeled. In `multi`, the labels of several rows are joined.

    Args:
        tables: of the tree.
        files: of the tree.
        task: `single` or `multi`.
        where: name of the source in messages.

    Raises:
        UserError: if there is no table, a row is invalid, or two rows contradict each other.
    """
    if tables.failures:
        raise tables.failures[0]
    if not tables.labels:
        seen = "".join(f" {item.id}: {item.reason}." for item in tables.unused)
        raise UserError(
            f"dataset.layout: {where} has no CSV, TSV, JSON Lines or Parquet file with a column of "
            "paths (such as path, file_name, image, id) and one of labels (label, labels, class, "
            f"category, target), got table.{seen} Rename the columns, or correct the layout; auto "
            "detects it."
        )
    rows = _Rows(task, where, _folder_splits(files))
    missing: list[NotRead] = []
    remarks: list[str] = []
    for table in tables.labels:
        n_before = len(rows.images)
        absent = _read_table(table, tables.paths, rows)
        missing += [NotRead(listed, f"{table.name} lists it, but there is no such image")
                    for listed in absent]  # fmt: skip
        described = describe_columns(table.file, table.columns)
        remarks.append(f"{table.name}: {len(rows.images) - n_before:,} images; {described}")
    remarks += rows.describe()
    if not rows.images:
        first = tables.labels[0].name
        raise NoImageListedError(
            f"{first}: none of {len(missing):,} paths is an image of {where}, got "
            f"{missing[0].id!r}. Paths are relative to the table's folder."
            if missing
            else f"{first}: the table of {where} has no rows. Add rows, or correct dataset.layout."
        )
    found = rows.as_classes()
    images = [found.get(name, SourceImage(name, (), UNLABELED)) for name in files.images]
    if len(files.images) > len(found):
        n_unlabeled = len(files.images) - len(found)
        remarks.append(f"{n_unlabeled:,} {UNLISTED}")
    used = [table.name for table in tables.labels]
    return Source("table", settle_splits(images, remarks), missing, remarks, used)


class _Rows:
    """The images that rows describe."""

    def __init__(self, task: str, where: str, folder_splits: Mapping[str, str]) -> None:
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
        columns = table.columns
        at = f"{table.name}: {row}"
        labels = self._labels(cells, table, at)
        if columns.confidence is not None and cells[columns.confidence] in NEGATIVE - {""}:
            self._n_absent_labels += 1
            labels = ()
        split = self._split(name, cells, table, at)
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
                    names.append(_composed(table.file.columns[column]))
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
        labels = {_composed(label.strip()) for label in cell.split(LABEL_SEPARATOR)} - {""}
        if empty := labels & MISSING:
            self._empty.update(empty)
            labels -= empty
        return tuple(sorted(labels))

    def _split(self, name: str, cells: Sequence[str], table: LabelTable, at: str) -> str | None:
        columns = table.columns
        for column, held_out in columns.flags.items():
            if cells[column].casefold() in POSITIVE:
                return held_out
        value = cells[columns.split].lower() if columns.split is not None else ""
        if columns.split is not None and value and value not in MISSING:
            known = split_name(value)
            if known.split is None or known.rest:
                raise UserError(
                    f"{table.name}: the split of {name!r} must be empty or one of "
                    f"{', '.join(SPLIT_NAMES)}, {UNLABELED}, got {value!r}. Correct {_row_of(at)}."
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


def _read_table(table: LabelTable, paths: ListedPaths, rows: _Rows) -> list[str]:
    """Add the rows of a table; return the listed paths without an image."""
    folder, _, file = table.name.rpartition("/")
    split = split_name(file.rpartition(".")[0]).split
    absent: list[str] = []
    shortened: list[tuple[Match, str, str, list[str]]] = []
    for row, cells in table.file.rows():
        listed = cells[table.columns.path]
        match = paths.find(listed, folder=folder, split=split)
        if match is None:
            absent.append(listed)
        elif len(match.names) > 1:
            raise UserError(
                f"{table.name}: {row} lists {listed!r}, which may be "
                f"{' or '.join(map(repr, match.names[:3]))} of {rows.where}. Write the whole path."
            )
        elif match.prefix is None:
            rows.add(match.names[0], listed, row, cells, table)
        else:
            shortened.append((match, listed, row, cells))
    # Folders that do not exist here are skipped if they are always the same, or absolute.
    same = len({match.prefix for match, *_ in shortened}) == 1
    for match, listed, row, cells in shortened:
        if same or match.absolute:
            rows.add(match.names[0], listed, row, cells, table)
        else:
            absent.append(listed)
    return absent


def _folder_splits(files: Files) -> dict[str, str]:
    """Find folders of official splits: path with a slash at its end -> split."""
    top = skip_wrapping(folder_tree(files.images))
    splits = official_splits(top.folders) if not top.n_images else None
    return {"/".join((*top.path, name, "")): split for name, split in (splits or {}).items()}


def _is_submission(name: str) -> bool:
    """Check for a file such as `sample_submission.csv`, whose labels are placeholders."""
    stem = name.rpartition("/")[2].rpartition(".")[0]
    return bool({"submission", "submit", "submissions"} & set(words(stem))) or (
        "samplesubmission" in stem.lower()
    )


def _composed(label: str) -> str:
    return label if label.isascii() else unicodedata.normalize("NFC", label)


def _row_of(at: str) -> str:
    """Return the row of a place such as `t.csv: line 3`."""
    return at.rpartition(": ")[2]
