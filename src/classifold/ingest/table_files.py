"""Read the rows of CSV, TSV, JSON Lines and Parquet files as text."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from classifold.data.labels import join_labels
from classifold.errors import UserError
from classifold.ingest.tree import Tree, read_listed

EXTENSIONS = (".csv", ".tsv", ".jsonl", ".parquet")

DELIMITERS = ",;\t|"

# The first line of a CSV file of Excel may name the delimiter.
EXCEL_DELIMITER = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)

ROWS_PER_BATCH = 10_000

# Of a Parquet file, whose encodings repeat values at no cost.
MAX_ROWS = 10_000_000
MAX_BYTES_UNPACKED = 2**30

# Longer ones come first: the UTF-32 mark begins like that of UTF-16.
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}

Row = tuple[str, list[str]]  # "line 7", for messages, and the cells in the order of the columns


class TableFile:
    """A table in a tree; its rows are read on demand."""

    def __init__(self, tree: Tree, name: str) -> None:
        """Read the names of the columns.

        Raises:
            UserError: if the file cannot be read, or is damaged.
        """
        self.name = name
        self.has_header = True
        content = read_listed(tree, name)
        self.first: list[str] = []  # the cells of the first line, if it is no header
        self._rows: _CsvRows | _ArrowRows
        if name.lower().endswith((".csv", ".tsv")):
            self._rows = _CsvRows(name, content)
        else:
            self._rows = _ArrowRows(name, content)
        self.columns = self._rows.columns

    def take_header_as_row(self) -> None:
        """Treat the first line as data: the file has no names of columns."""
        self.has_header = False
        self.first = self.columns
        self.columns = [f"column {number}" for number in range(1, len(self.first) + 1)]

    def rows(self) -> Iterator[Row]:
        """Generate the rows, each with as many cells as there are columns.

        Raises:
            UserError: if a row has another number of cells, or the file is damaged.
        """
        if not self.has_header:
            yield "line 1", self.first
        yield from self._rows


class _CsvRows:
    def __init__(self, name: str, content: bytes) -> None:
        self._name = name
        self._text = _decode(content, name)
        self._n_lines_before = 0
        if match := EXCEL_DELIMITER.match(self._text):
            self._delimiter = match[1]
            self._text = self._text[match.end() :]
            self._n_lines_before = 1
        else:
            comments = _comments(self._text)
            self._text = self._text[sum(map(len, comments)) :]
            self._n_lines_before = len(comments)
            self._delimiter = _delimiter(self._text.lstrip("\r\n").partition("\n")[0])
        self.columns = next((cells for _, cells in self._read()), [])

    def __iter__(self) -> Iterator[Row]:
        rows = self._read()
        next(rows, None)
        n_columns = len(self.columns)
        for line, cells in rows:
            while len(cells) > n_columns and not cells[-1]:
                cells.pop()
            if len(cells) != n_columns:
                delimiter = "a tab" if self._delimiter == "\t" else repr(self._delimiter)
                raise UserError(
                    f"{self._name}: line {line} must have {n_columns} fields as the first line "
                    f"has, got {len(cells)}: {self._delimiter.join(cells)[:80]!r}. Put a field "
                    f"that contains {delimiter} in double quotes, or complete the line."
                )
            yield f"line {line}", cells

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        """Generate the number of the first line and the cells of each row that is not empty."""
        reader = csv.reader(
            io.StringIO(self._text, newline=""),
            delimiter=self._delimiter,
            skipinitialspace=True,
            strict=True,
        )
        line = 1
        try:
            for cells in reader:
                stripped = [cell.strip() for cell in cells]
                if any(stripped):
                    yield line + self._n_lines_before, stripped
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{self._name}: line {line + self._n_lines_before} is not valid CSV ({error}). "
                "Correct its quotes."
            ) from None


class _ArrowRows:
    def __init__(self, name: str, content: bytes) -> None:
        self._name = name
        try:
            if name.lower().endswith(".jsonl"):
                self._table = pyarrow.json.read_json(io.BytesIO(content))
            else:
                file = pq.ParquetFile(io.BytesIO(content))
                _refuse_too_large(name, file.metadata)
                self._table = file.read()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if name.lower().endswith(".jsonl"):
                message = (
                    f"{name}: must have one JSON object per line, and values of one type per key, "
                    f"got other lines ({error}). Correct the file."
                )
            else:
                message = f"{name}: damaged Parquet file ({error}). Download it again."
            raise UserError(message) from None
        self.columns = self._table.column_names

    def __iter__(self) -> Iterator[Row]:
        number = 0
        for batch in self._table.to_batches(max_chunksize=ROWS_PER_BATCH):
            try:
                columns = [column.to_pylist() for column in batch.columns]
            except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
                raise UserError(
                    f"{self._name}: damaged Parquet file ({error}). Download it again."
                ) from None
            for values in zip(*columns, strict=True):
                number += 1
                yield f"row {number}", [_text(value).strip() for value in values]


def _refuse_too_large(name: str, table: pq.FileMetaData) -> None:
    """Refuse a table that would exhaust memory: one of kilobytes may have billions of rows."""
    n_bytes = sum(table.row_group(i).total_byte_size for i in range(table.num_row_groups))
    if table.num_rows > MAX_ROWS or n_bytes > MAX_BYTES_UNPACKED:
        raise UserError(
            f"{name}: must have at most {MAX_ROWS:,} rows and {MAX_BYTES_UNPACKED:,} bytes, got "
            f"{table.num_rows:,} rows and {n_bytes:,} bytes. Remove rows or columns."
        )


def _decode(content: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 as Excel and Windows write them.

    Raises:
        UserError: for other encodings, which cannot be distinguished with certainty.
    """
    encoding = next(
        (known for mark, known in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8-sig"
    )
    head = content[:256]
    if encoding == "utf-8-sig" and b"\0" in head:  # UTF-16 without its mark
        encoding = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{name}: line {line} is not in UTF-8 or UTF-16 ({error.reason}). Save it as UTF-8."
        ) from None


def _comments(text: str) -> list[str]:
    """Return the first lines that begin with `#`, without a header such as `#path,label`."""
    comments: list[str] = []
    for line in io.StringIO(text):
        if not line.startswith("#"):
            delimiter = _delimiter(line)
            n_fields = len(_fields(line, delimiter))
            if comments and n_fields == len(_fields(comments[-1], delimiter)) > 1:
                comments.pop()
            return comments
        comments.append(line)
    return []


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=lambda delimiter: len(_fields(header, delimiter)))


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _text(value: object) -> str:
    """Convert a value of Parquet to the text that a CSV file has; NaN and null are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():  # integers with NaN among them
        return str(int(value))
    if isinstance(value, list):
        return join_labels(text for item in value if (text := _text(item)))
    if isinstance(value, Mapping):  # Hugging Face's image struct
        return str(value.get("path") or "")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)
