"""Recognize the columns of a label table."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

from classifold.errors import UserError
from classifold.ingest.entries import printable
from classifold.ingest.split_names import split_name
from classifold.ingest.table_files import TableFile

# Accepted names of columns, the preferred ones first, in lower case and without other characters
# than letters and digits: `Image Index` is imageindex.
PATH_COLUMNS = (
    *("path", "filepath", "filepaths", "imagepath", "imgpath", "filename", "filenames", "file"),
    *("image", "images", "img", "imageid", "imgid", "id", "imagefile", "imagefilename"),
    *("imagename", "imgname", "imageindex", "idcode", "fname", "photo", "picture", "name"),
)
LABEL_COLUMNS = (
    *("labels", "label", "class", "classes", "category", "target", "labelname", "classname"),
    *("categoryname", "labelid", "classid", "categoryid", "classindex", "species", "breed"),
    *("diagnosis", "dx", "findinglabels", "tags"),
)
SPLIT_COLUMNS = ("split", "dataset", "subset", "set", "partition", "usage")
FLAGS = {"isvalid": "validation", "isval": "validation", "istest": "test"}
GROUP_COLUMN = "group"
CONFIDENCE_COLUMN = "confidence"  # in Open Images, 0 means that an image lacks the label
LIKE_GROUPS = frozenset(
    ("patient", "patientid", "subject", "subjectid", "lesionid", "caseid", "studyid", "seriesid")
)
INDEX_COLUMNS = frozenset(("", "unnamed0", "index"))

ROWS_OF_SAMPLE = 500

# What stands for 0 and 1 in a table with one column per class.
NEGATIVE = frozenset(("", "0", "0.0", "-1", "-1.0", "false"))
POSITIVE = frozenset(("1", "1.0", "true"))

DECIMAL = re.compile(r"-?\d*\.\d*[1-9]\d*(?:[eE]-?\d+)?|-?\d+(?:\.\d+)?[eE]-?\d+")


class Columns(NamedTuple):
    """The positions of the columns of a label table."""

    path: int
    labels: list[int]  # one column of labels, or one per class
    one_per_class: bool
    named: bool  # whether the names of the columns show that they are paths and labels
    split: int | None = None
    flags: Mapping[int, str] = MappingProxyType({})  # columns such as `is_valid` -> split
    group: int | None = None
    confidence: int | None = None


def find_columns(table: TableFile, is_listed: Callable[[str], bool]) -> Columns | str:
    """Find the columns of paths and labels, or return why there are none.

    Args:
        table: the table; one without a header is recognized by an image in its first line.
        is_listed: whether a cell names an image.

    Raises:
        UserError: if a column that is needed has the name of another one, or a name of earlier
            versions.
    """
    known = {*PATH_COLUMNS, *LABEL_COLUMNS}
    if not known & set(map(_plain, table.columns)) and any(map(is_listed, table.columns)):
        table.take_header_as_row()
    plain = [_plain(column) for column in table.columns]
    sample = [cells for _, cells in islice(table.rows(), ROWS_OF_SAMPLE)]
    path = _path_column(plain, sample, is_listed)
    if path is None:
        return "it has no column of paths"
    split = _split_column(plain, sample, path)
    flags = {at: FLAGS[name] for at, name in enumerate(plain) if name in FLAGS}
    taken = {path, split, *flags}
    labels = [
        plain.index(name)
        for name in LABEL_COLUMNS
        if name in plain and plain.index(name) not in taken
    ][:1]
    named = bool(labels) and plain[path] in PATH_COLUMNS
    one_per_class = False
    if not labels:
        labels, one_per_class = _unnamed_labels(plain, sample, taken)
        if not labels:
            return "it has no column of labels"
    for at in (path, *labels):
        if plain.count(plain[at]) > 1 and table.has_header:
            raise UserError(
                f"{table.name}: the column {table.columns[at]!r} must be there once, got "
                f"{plain.count(plain[at])}. Rename or remove one."
            )

    def position(name: str) -> int | None:
        return plain.index(name) if name in plain and plain.index(name) not in labels else None

    return Columns(
        path, labels, one_per_class, named, split, flags,
        position(GROUP_COLUMN), None if one_per_class else position(CONFIDENCE_COLUMN),
    )  # fmt: skip


def are_named(columns: Sequence[str]) -> bool:
    """Check whether columns are named after paths and labels."""
    plain = set(map(_plain, columns))
    return bool(plain & set(PATH_COLUMNS)) and bool(plain & set(LABEL_COLUMNS))


def describe_columns(table: TableFile, columns: Columns) -> str:
    """Describe which columns are used, and which are not."""
    names = table.columns
    if not table.has_header:
        names = [f"{name} ({cell})" for name, cell in zip(names, table.first, strict=True)]
    used = {columns.path, *columns.labels, columns.split, columns.group, *columns.flags}
    labels = (
        f"one column per class ({len(columns.labels)})"
        if columns.one_per_class
        else f"labels in {names[columns.labels[0]]!r}"
    )
    text = f"paths in {names[columns.path]!r}, {labels}"
    if columns.split is not None:
        text += f", splits in {names[columns.split]!r}"
    unused = [name for at, name in enumerate(names) if at not in used and name]
    if unused:
        text += f"; not used: {', '.join(map(printable, unused))}"
    groups = [name for name in unused if _plain(name) in LIKE_GROUPS]
    if groups and columns.group is None:
        text += f" (call {groups[0]!r} group to keep its images in one split)"
    return text


def _plain(column: str) -> str:
    return re.sub(r"[\W_]", "", column.casefold())


def _path_column(
    plain: Sequence[str], sample: Sequence[Sequence[str]], is_listed: Callable[[str], bool]
) -> int | None:
    """Find the column whose cells name images, by its name first."""
    named = [plain.index(name) for name in PATH_COLUMNS if name in plain]
    for at in named:
        if any(is_listed(cells[at]) for cells in sample):
            return at
    others = [at for at in range(len(plain)) if at not in named]
    n_listed = {at: sum(is_listed(cells[at]) for cells in sample) for at in others}
    best = max(others, key=lambda at: n_listed[at], default=None)
    if best is not None and 2 * n_listed[best] > len(sample):
        return best
    return named[0] if named else None


def _split_column(plain: Sequence[str], sample: Sequence[Sequence[str]], path: int) -> int | None:
    """Find the column of splits; one that is not called `split` must hold nothing else."""
    for name in SPLIT_COLUMNS:
        at = plain.index(name) if name in plain else path
        if at == path:
            continue
        values = {cells[at] for cells in sample} - {""}
        if name == "split" or (values and all(split_name(value) in _PURE for value in values)):
            return at
    return None


_PURE = {split_name(name) for name in ("train", "val", "test")}


def _unnamed_labels(
    plain: Sequence[str], sample: Sequence[Sequence[str]], taken: set[int | None]
) -> tuple[list[int], bool]:
    """Find labels by content: the only other column, or columns of 0 and 1, one per class."""
    skipped = INDEX_COLUMNS | {GROUP_COLUMN}
    others = [at for at, name in enumerate(plain) if at not in taken and name not in skipped]
    if len(others) > 1:
        others = [at for at in others if plain[at] not in PATH_COLUMNS]
    if len(others) == 1:
        values = [cells[others[0]] for cells in sample]
        # Numbers with decimals, and text that hardly repeats, are no classes.
        is_class = not any(map(DECIMAL.fullmatch, values)) and (
            len(values) < 10 or 2 * len(set(values)) <= len(values)
        )
        return (others if is_class else []), False
    cells = {cell.casefold() for row in sample for at in others for cell in [row[at]]}
    # With 0 beside it, -1 means that a label is uncertain.
    uncertain = bool(cells & {"-1", "-1.0"} and cells & {"0", "0.0"})
    known = cells <= NEGATIVE | POSITIVE and bool(cells & POSITIVE) and not uncertain
    binary = len(others) > 1 and known
    return (others, True) if binary else ([], False)
