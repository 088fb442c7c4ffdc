"""The image table: Parquet shards of encoded images, one row per image.

The column `image` is the struct {bytes, path}, which Hugging Face `datasets`, Ray Data, Polars
and DuckDB can read.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from classifold.data.format_version import KEY, WRITTEN, check_format
from classifold.runtime.faults import explain_damage

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # POSIX path inside the source
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("labels", pa.list_(pa.string())),  # class names; none: unlabeled
        ("split", pa.string()),  # official train, validation, test; unlabeled; or null
        ("group", pa.string()),  # patient, burst …, or null
        (
            "boxes",  # in pixels, upper left corner first
            pa.list_(pa.struct([(side, pa.int32()) for side in ("x0", "y0", "x1", "y1")])),
        ),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),  # Pillow's mode of the original file
        ("sha256", pa.string()),  # hash of the upright RGB pixels
        ("perceptual_hash", pa.string()),
    ],
    metadata={key: str(value) for key, value in WRITTEN.items()},
)

UNLABELED = "unlabelled"
TEST = "test"  # an official labeled split: no image of it is excluded as a duplicate or moved

BYTES_PER_ROW_GROUP = 16 * 2**20
BYTES_PER_SHARD = 256 * 2**20


def write_table(folder: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows of `SCHEMA` into shards `images-00000.parquet` and so on.

    Memory holds one row group at a time. The same rows give the same bytes.

    Returns:
        The number of rows.
    """
    n_rows = n_shards = n_bytes_in_shard = n_bytes_waiting = 0
    waiting: list[Mapping[str, Any]] = []
    writer: pq.ParquetWriter | None = None

    def flush() -> None:
        nonlocal writer, n_shards, n_bytes_waiting
        if writer is None:
            # Images are compressed already; the other columns are small.
            path = folder / f"images-{n_shards:05}.parquet"
            writer = pq.ParquetWriter(path, SCHEMA, compression="none", write_page_checksum=True)
            n_shards += 1
        writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))
        waiting.clear()
        n_bytes_waiting = 0

    try:
        for row in rows:
            waiting.append(row)
            n_rows += 1
            size = len(row["image"]["bytes"])
            n_bytes_waiting += size
            n_bytes_in_shard += size
            if n_bytes_waiting >= BYTES_PER_ROW_GROUP:
                flush()
            if writer is not None and n_bytes_in_shard >= BYTES_PER_SHARD:
                writer.close()
                writer, n_bytes_in_shard = None, 0
        if waiting or n_shards == 0:
            flush()
    finally:
        if writer is not None:
            writer.close()
    return n_rows


def iter_columns(folder: Path, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """Iterate over some columns of all rows, in the order of the table: one mapping per row.

    Memory holds one row group.

    Raises:
        UserError: if a shard is damaged or of another format.
    """
    for shard in _shards(folder):
        with _opened(shard) as file:
            for i in range(file.num_row_groups):
                yield from file.read_row_group(i, columns=list(columns)).to_pylist()


def iter_images(folder: Path, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Iterate over the encoded images of `ids`, in the order of the table.

    An image may have an EXIF orientation, which `rgb_pixels` applies. Memory holds one row group.
    Row groups without one of these images are not read.

    Raises:
        KeyError: if an id is not in the table.
        UserError: if a shard is damaged or of another format.
    """
    missing = set(ids)
    for shard in _shards(folder):
        with _opened(shard) as file:
            for i in range(file.num_row_groups):
                row_ids = file.read_row_group(i, columns=["id"])["id"].to_pylist()
                wanted = [row for row, image_id in enumerate(row_ids) if image_id in missing]
                if not wanted:
                    continue
                images = file.read_row_group(i, columns=["image.bytes"])["image"]
                for row in wanted:
                    missing.discard(row_ids[row])
                    yield row_ids[row], images[row]["bytes"].as_py()
    if missing:
        raise KeyError(f"{folder}: {len(missing)} ids are not in the table, such as {min(missing)}")


@contextmanager
def _opened(shard: Path) -> Iterator[pq.ParquetFile]:
    """Open a shard; reading verifies the checksums of its pages."""
    with explain_damage(shard, kind="a shard of the image table"):
        file = pq.ParquetFile(shard, page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        version = metadata.get(KEY.encode(), b"1").decode()
        check_format(shard, {KEY: int(version) if version.isdecimal() else version})
        yield file


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("images-*.parquet"))
