"""Read the layout `table`: images, and a CSV or Parquet file with their paths and labels.

Columns: `path`; `label` or `labels` (several separated by `|`); optional `split` and `group`.
Hugging Face's `metadata.csv` and the tables of most competitions need no changes.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from classifold.data.image_table import LABEL_SEPARATOR, UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.layout import (
    SPLIT_NAMES,
    Source,
    SourceImage,
    image_names,
    settle_splits,
    visible,
)
from classifold.ingest.tree import Tree, read_listed

EXTENSIONS = (".csv", ".tsv", ".parquet")

# Accepted names of columns, the preferred one first.
PATH_COLUMNS = ("path", "file_name", "filename", "file", "image", "image_id", "id")
LABEL_COLUMNS = ("labels", "label", "class", "category", "target")

BYTES_OF_HEADER = 65536
OLD_SPLIT_COLUMN = "part"  # its name in earlier versions


class _Table(NamedTuple):
    """A table in the tree, and its columns of paths and labels."""

    name: str
    path: str
    label: str


def is_table(tree: Tree) -> bool:
    """Check whether there is a table with a column of paths and one of labels."""
    return bool(_tables(tree))


def read_table(tree: Tree, *, task: str, where: str) -> Source:
    """Find the images and their labels in the tables.

    Paths are relative to the folder of the table, or to the root. A table named after a split
    (`train.csv`, `test.csv`) assigns its images to that split. An empty label means, in `single`,
    unlabeled, and in `multi` an image without a label; an image in no table is unlabeled.

    Args:
        tree: where the files are.
        task: `single` or `multi`.
        where: name of the source in messages.

    Raises:
        UserError: if there is no table, a row is invalid, or two rows contradict each other.
    """
    tables = _tables(tree)
    if not tables:
        raise UserError(
            f"dataset.layout: {where} has no CSV or Parquet file with a column of paths "
            f"({', '.join(PATH_COLUMNS)}) and one of labels ({', '.join(LABEL_COLUMNS)}), got "
            "table. Rename the columns, or correct the layout; auto detects it."
        )
    names = image_names(tree.names())
    known = set(names)
    described: dict[str, SourceImage] = {}
    missing: list[NotRead] = []
    for table in tables:
        folder = table.name.rpartition("/")[0]
        stem = table.name.rpartition("/")[2].rpartition(".")[0].lower()
        absent = f"listed in {table.name}, but missing"
        for number, row in enumerate(_rows(tree, table.name), start=1):
            listed = row.get(table.path, "").strip()
            name = next((name for name in _candidates(listed, folder) if name in known), None)
            if name is None:
                missing.append(NotRead(listed, absent))
                continue
            image = _describe(name, row, table, default_split=SPLIT_NAMES.get(stem), task=task)
            if described.setdefault(name, image) != image:
                raise UserError(
                    f"{table.name}: row {number} lists {name!r} of {where} again with other "
                    "values. Keep one of the two rows."
                )

    if not described:
        raise UserError(
            f"{tables[0].name}: none of {len(missing):,} paths is an image of {where}, got "
            f"{missing[0].id!r}. Paths are relative to the table's folder."
            if missing
            else f"{tables[0].name}: the table of {where} has no rows. Add rows, or correct "
            "dataset.layout."
        )
    remarks = [f"{', '.join(table.name for table in tables)}: {len(described):,} images listed"]
    images = [described.get(name, SourceImage(name, (), UNLABELED)) for name in names]
    if len(names) > len(described):
        remarks.append(f"{len(names) - len(described):,} images are in no row: unlabeled")
    return Source("table", settle_splits(images, remarks), missing, remarks)


def _describe(
    name: str, row: Mapping[str, str], table: _Table, *, default_split: str | None, task: str
) -> SourceImage:
    cell = row.get(table.label, "")
    labels = tuple(
        sorted({label.strip() for label in cell.split(LABEL_SEPARATOR) if label.strip()})
    )
    split = row.get("split", "").strip().lower()
    if split and split not in SPLIT_NAMES and split != UNLABELED:
        raise UserError(
            f"{table.name}: the split of {name!r} must be empty or one of "
            f"{', '.join(SPLIT_NAMES)}, {UNLABELED}, got {split!r}. Correct the row."
        )
    if split == UNLABELED or (task == "single" and not labels):
        return SourceImage(name, (), UNLABELED)
    group = row.get("group", "").strip() or None
    return SourceImage(name, labels, SPLIT_NAMES.get(split, default_split), group)


def _candidates(listed: str, folder: str) -> Iterator[str]:
    """Generate the possible ids for a path in a table, the most likely first."""
    path = listed.replace("\\", "/").removeprefix("./")
    if folder:
        yield f"{folder}/{path}"
    yield path


def _tables(tree: Tree) -> list[_Table]:
    tables = []
    for name in visible(tree.names(), *EXTENSIONS):
        columns = _columns(tree, name)
        path = next((column for column in PATH_COLUMNS if column in columns), None)
        label = next((column for column in LABEL_COLUMNS if column in columns), None)
        if path and label:
            if OLD_SPLIT_COLUMN in columns and "split" not in columns:
                # Ignoring it would train on the images of an official test split.
                raise UserError(
                    f"{name}: the column of official splits must be called split, got "
                    f"{OLD_SPLIT_COLUMN}. Rename the column."
                )
            tables.append(_Table(name, path, label))
    return tables


def _columns(tree: Tree, name: str) -> list[str]:
    content = read_listed(tree, name)
    if name.lower().endswith(".parquet"):
        try:
            return pq.ParquetFile(io.BytesIO(content)).schema_arrow.names
        except (pa.ArrowInvalid, OSError):
            return []
    head = content[:BYTES_OF_HEADER].decode("utf-8-sig", "replace").splitlines()
    if not head:
        return []
    return [column.strip() for column in next(csv.reader(head, delimiter=_delimiter(head[0])), [])]


def _rows(tree: Tree, name: str) -> Iterator[dict[str, str]]:
    """Read the rows as text; several labels are joined as in CSV."""
    content = read_listed(tree, name)
    if name.lower().endswith(".parquet"):
        try:
            rows = pq.read_table(io.BytesIO(content)).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name}: damaged Parquet file ({error}). Download it again.") from None
        for values in rows:
            yield {column: _text(value) for column, value in values.items()}
        return
    try:
        text = content.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        columns = [column.strip() for column in next(reader)]
        for row in reader:
            if row:
                yield dict(zip(columns, row, strict=False))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: not a CSV file in UTF-8 ({error}). Save it as UTF-8.") from None


def _text(value: object) -> str:
    if isinstance(value, list):
        return LABEL_SEPARATOR.join(str(item) for item in value)
    if isinstance(value, Mapping):  # Hugging Face's image struct
        return str(value.get("path") or "")
    return "" if value is None else str(value)


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)
