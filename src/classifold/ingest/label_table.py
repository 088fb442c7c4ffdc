"""Read the layout `table`: images, and files with their paths and labels.

Columns: `path`; `label` or `labels` (several separated by `|`), or one column of 0 and 1 per class;
optional `split` and `group`. Hugging Face's `metadata.csv` and the tables of most competitions need
no changes.
"""

from functools import partial
from typing import NamedTuple

from classifold.data.image_table import UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.files import Files
from classifold.ingest.folder_tree import folder_tree, skip_wrapping
from classifold.ingest.layout import Source, SourceImage, settle_splits
from classifold.ingest.listed_paths import ListedPaths, Match
from classifold.ingest.split_names import official_splits, split_name, words
from classifold.ingest.table_columns import are_named, describe_columns, find_columns
from classifold.ingest.table_files import EXTENSIONS, TableFile
from classifold.ingest.table_rows import LabelTable, Rows
from classifold.ingest.tree import Tree


class Tables(NamedTuple):
    """The tables in a tree."""

    labels: list[LabelTable]
    unused: list[NotRead]  # other tables, and the reasons
    failures: list[UserError]  # errors of tables that could not be read
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
        files: files of the tree.

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
        tables: tables of the tree.
        files: files of the tree.
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
    rows = Rows(task, where, _folder_splits(files))
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
    return Source(
        "table",
        settle_splits(images, remarks),
        missing,
        remarks,
        used=[table.name for table in tables.labels],
        n_unlisted=len(files.images) - len(found),
    )


def _read_table(table: LabelTable, paths: ListedPaths, rows: Rows) -> list[str]:
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
    found = words(stem)
    return (
        bool({"submission", "submit", "submissions"} & set(found))
        or found[:2] == ["sample", "sub"]
        or found[:1] == ["samplesub"]
        or "samplesubmission" in stem.lower()
    )
