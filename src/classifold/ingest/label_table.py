"""The layout `table`: images, and a CSV or Parquet file that names and labels them.

Columns: `path`; `label` or `labels` (several parted by `|`); optional `part` and `group`.
Hugging Face's `metadata.csv` and most competitions' tables are read as they are.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from classifold.data.image_table import LABEL_SEPARATOR, UNLABELLED
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

# What the columns are called, ours first.
PATH_COLUMNS = ("path", "file_name", "filename", "file", "image", "image_id", "id")
LABEL_COLUMNS = ("labels", "label", "class", "category", "target")

BYTES_OF_HEADER = 65536


class _Table(NamedTuple):
    """A file of the tree with the columns that matter."""

    name: str
    path: str
    label: str


def is_table(tree: Tree) -> bool:
    """Whether a table with a column of paths and one of labels lies beside the images."""
    return bool(_tables(tree))


def read_table(tree: Tree, *, task: str, where: str) -> Source:
    """Find the images and what the tables say of them.

    Paths are relative to the folder of the table, or to the root. Several tables whose names
    are parts (`train.csv`, `test.csv`) say so of their images. An empty label means, in
    `single`, unlabelled, and in `multi` an image without a label; an image that no table
    names is unlabelled.

    Args:
        tree: where the files are.
        task: `single` or `multi`.
        where: what to call the source in messages.

    Raises:
        UserError: if there is no table, a row has no meaning, or two rows contradict.
    """
    tables = _tables(tree)
    if not tables:
        raise UserError(
            f"dataset.layout is table, but {where} has no CSV or Parquet file with a column of "
            f"paths ({', '.join(PATH_COLUMNS)}) and one of labels ({', '.join(LABEL_COLUMNS)}); "
            "name the columns so, or correct the layout (auto finds it out)"
        )
    names = image_names(tree.names())
    known = set(names)
    described: dict[str, SourceImage] = {}
    missing: list[NotRead] = []
    for table in tables:
        folder = table.name.rpartition("/")[0]
        stem = table.name.rpartition("/")[2].rpartition(".")[0].lower()
        absent = f"named in {table.name}, but not there"
        for number, row in enumerate(_rows(tree, table.name), start=1):
            listed = row.get(table.path, "").strip()
            name = next((name for name in _meanings(listed, folder) if name in known), None)
            if name is None:
                missing.append(NotRead(listed, absent))
                continue
            image = _describe(name, row, table, default_part=SPLIT_NAMES.get(stem), task=task)
            if described.setdefault(name, image) != image:
                raise UserError(
                    f"row {number} of {table.name} in {where} names {name!r} a second time and "
                    "says something else of it; keep one of the two rows"
                )

    if not described:
        raise UserError(
            f"not one of {len(missing):,} paths in {tables[0].name} of {where} names an image "
            f"that is there, such as {missing[0].id!r}; paths are relative to the table's folder"
            if missing
            else f"{tables[0].name} of {where} has no rows; fill it, or correct dataset.layout"
        )
    remarks = [f"{', '.join(table.name for table in tables)}: {len(described):,} images named"]
    images = [described.get(name, SourceImage(name, (), UNLABELLED)) for name in names]
    if len(names) > len(described):
        remarks.append(f"{len(names) - len(described):,} images are in no row: unlabelled")
    return Source("table", settle_splits(images, remarks), missing, remarks)


def _describe(
    name: str, row: Mapping[str, str], table: _Table, *, default_part: str | None, task: str
) -> SourceImage:
    cell = row.get(table.label, "")
    labels = tuple(
        sorted({label.strip() for label in cell.split(LABEL_SEPARATOR) if label.strip()})
    )
    split = row.get("split", "").strip().lower()
    if split and split not in SPLIT_NAMES and split != UNLABELLED:
        raise UserError(
            f"{table.name} gives {name!r} the split {split!r}; a split is one of "
            f"{', '.join(SPLIT_NAMES)}, {UNLABELLED}, or empty"
        )
    if split == UNLABELLED or (task == "single" and not labels):
        return SourceImage(name, (), UNLABELLED)
    group = row.get("group", "").strip() or None
    return SourceImage(name, labels, SPLIT_NAMES.get(split, default_part), group)


def _meanings(listed: str, folder: str) -> Iterator[str]:
    """What a path in a table may mean, the likeliest first."""
    path = listed.replace("\\", "/").removeprefix("./")
    if folder:
        yield f"{folder}/{path}"
    yield path


def _tables(tree: Tree) -> list[_Table]:
    found = []
    for name in visible(tree.names(), *EXTENSIONS):
        columns = _columns(tree, name)
        path = next((column for column in PATH_COLUMNS if column in columns), None)
        label = next((column for column in LABEL_COLUMNS if column in columns), None)
        if path and label:
            found.append(_Table(name, path, label))
    return found


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
    """Rows of text, several labels joined as in CSV."""
    content = read_listed(tree, name)
    if name.lower().endswith(".parquet"):
        try:
            rows = pq.read_table(io.BytesIO(content)).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name} is a damaged Parquet file: {error}; fetch it again") from None
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
        raise UserError(f"{name} is no CSV in UTF-8: {error}; save it as such") from None


def _text(value: object) -> str:
    if isinstance(value, list):
        return LABEL_SEPARATOR.join(str(item) for item in value)
    if isinstance(value, Mapping):  # Hugging Face's image struct
        return str(value.get("path") or "")
    return "" if value is None else str(value)


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return max(",;\t", key=header.count)
