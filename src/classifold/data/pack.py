"""Read and write packs: images of one size, ready for training, in a few large files.

`images.npy` is a uint8 array (N, size, size, 3), memory-mapped when read; where that would be
too large, `images.arrow` has the images as JPEG, which are decoded when they are used.
`index.parquet` has a row per image: row, id, variant number (0: the original), transformation,
label (several are joined by `|`), group. `pack.json` has the task, the classes in their order, the
size, the resize filter, the ranges of deep images, and a hash of the images, so that their users
need not read all of them to find out whether they are the same.
"""

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple, cast

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifold.data.deep_ranges import NO_RANGES, Ranges
from classifold.data.format_version import KEY, WRITTEN, check_format
from classifold.data.image_arrays import ChosenImages, EncodedImages, JoinedImages, content_hash
from classifold.data.json_file import read_json, write_json
from classifold.data.labels import join_labels, split_labels
from classifold.runtime.faults import explain_damage

JPEGS = pa.schema([("jpeg", pa.binary())])
JPEGS_PER_BATCH = 256
JPEG_QUALITY = 95

INDEX = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("variant", pa.int32()),
        ("transformation", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
    ]
)


class Pack(NamedTuple):
    """Images with their labels; row i of each array is image i."""

    images: np.ndarray  # uint8 (N, size, size, 3), or an ImageArray
    labels: np.ndarray  # positions in `classes`, int64 (N,); of a `multi` task uint8 (N, n_classes)
    ids: list[str]
    variants: np.ndarray  # int32 (N,): 0 for originals
    transformations: list[str]
    task: str  # `single`: one label per image; `multi`: any number
    classes: list[str]
    size: int
    resize: str
    ranges: Ranges = NO_RANGES  # ranges of deep images, as they were converted
    groups: Sequence[str] = ()  # images of one group, such as duplicates; by default `ids`

    def originals(self) -> "Pack":
        """Select the images that are no augmented variants."""
        return self.subset(np.flatnonzero(self.variants == 0))

    def subset(self, rows: np.ndarray) -> "Pack":
        """Select images, in the order of `rows`; images on the disk are not loaded."""
        return self._replace(
            images=cast(np.ndarray, ChosenImages(self.images, rows)),
            labels=self.labels[rows],
            ids=[self.ids[row] for row in rows],
            variants=self.variants[rows],
            transformations=[self.transformations[row] for row in rows],
            groups=[self.groups[row] for row in rows] if self.groups else (),
        )


def join(first: Pack, second: Pack) -> Pack:
    """Concatenate two packs with the same classes."""
    return first._replace(
        images=cast(np.ndarray, JoinedImages(first.images, second.images)),
        labels=np.concatenate([first.labels, second.labels]),
        ids=first.ids + second.ids,
        variants=np.concatenate([first.variants, second.variants]),
        transformations=first.transformations + second.transformations,
        groups=[*(first.groups or first.ids), *(second.groups or second.ids)],
    )


Put = Callable[[int, Sequence[np.ndarray | bytes]], None]


class PackWriter:
    """Writes images in any order, from any thread, and the rows of the index in order.

    `put` takes the first row and consecutive images: uint8 arrays (size, size, 3) or, for a pack
    of JPEG files, the results of `encode_jpeg`.
    """

    def __init__(self, put: Put) -> None:
        self.put = put
        self.columns: dict[str, list[object]] = {name: [] for name in INDEX.names}

    def describe(
        self,
        *,
        image_id: str,
        variant: int,
        transformation: str,
        labels: Sequence[str],
        group: str | None = None,
    ) -> None:
        """Append a row of the index; by default an image is a group of its own."""
        row, label = len(self.columns["row"]), join_labels(labels)
        values = (row, image_id, variant, transformation, label, group or image_id)
        for name, value in zip(INDEX.names, values, strict=True):
            self.columns[name].append(value)


@contextmanager
def new_pack(
    folder: Path,
    *,
    n_images: int,
    size: int,
    resize: str,
    classes: Sequence[str],
    task: str = "single",
    storage: str = "raw",
    ranges: Ranges = NO_RANGES,
) -> Iterator[PackWriter]:
    """Write a pack of exactly `n_images` images into `folder`, without holding them in memory.

    Args:
        folder: folder of the pack.
        n_images: number of images.
        size: width and height of each.
        resize: the filter that was used; it is stored.
        classes: in their order.
        task: `single` or `multi`.
        storage: `raw` or `jpeg`.
        ranges: ranges of deep images, as they were converted; they are stored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = _raw_images(folder, n_images, size) if storage == "raw" else _jpeg_images(folder)
    with store as put:
        writer = PackWriter(put)
        yield writer
    if len(writer.columns["row"]) != n_images:
        raise ValueError(f"{folder}: {len(writer.columns['row'])} of {n_images} images described")
    pq.write_table(pa.table(writer.columns, INDEX), folder / "index.parquet")
    description = {
        **WRITTEN,
        "task": task,
        "classes": list(classes),
        "size": size,
        "resize": resize,
        "ranges": dict(ranges),
        "images_sha256": content_hash(_open_images(folder, n_images, size=size)),
    }
    write_json(folder / "pack.json", description)


@contextmanager
def _raw_images(folder: Path, n_images: int, size: int) -> Iterator[Put]:
    lock = Lock()
    with (folder / "images.npy").open("wb") as file:
        shape = (n_images, size, size, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()

        # Written with seek, since a memory-mapped file takes six times as long.
        def put(row: int, images: Sequence[np.ndarray | bytes]) -> None:
            with lock:
                file.seek(start + row * math.prod(shape[1:]))
                for image in images:
                    file.write(np.ascontiguousarray(image).data)

        yield put


@contextmanager
def _jpeg_images(folder: Path) -> Iterator[Put]:
    lock = Lock()
    early: dict[int, list[bytes]] = {}  # first row -> images that wait for earlier rows
    batch: list[bytes] = []
    n_rows = 0
    with pa.ipc.new_file(folder / "images.arrow", JPEGS) as file:

        def flush() -> None:
            file.write_batch(pa.record_batch([pa.array(batch, pa.binary())], schema=JPEGS))
            batch.clear()

        def put(row: int, images: Sequence[np.ndarray | bytes]) -> None:
            nonlocal n_rows
            encoded = [i if isinstance(i, bytes) else encode_jpeg(i) for i in images]
            with lock:
                early[row] = encoded
                while n_rows in early:
                    following = early.pop(n_rows)
                    batch.extend(following)
                    n_rows += len(following)
                if len(batch) >= JPEGS_PER_BATCH:
                    flush()

        yield put
        if batch:
            flush()


def encode_jpeg(pixels: np.ndarray, *, quality: int = JPEG_QUALITY) -> bytes:
    """Encode an image, uint8 (size, size, 3), by default as in a pack of JPEG files."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # as OpenCV expects it
    _, encoded = cv2.imencode(".jpg", blue_first, settings)
    return encoded.tobytes()


def read_pack(folder: Path) -> Pack:
    """Read a pack; the images stay on the disk until they are used.

    Raises:
        UserError: if one of its files is damaged or of another format.
    """
    description = read_json(folder / "pack.json")
    check_format(folder / "pack.json", description)
    description.pop(KEY, None)
    with explain_damage(folder / "index.parquet", kind="a Parquet file"):
        index = pq.read_table(folder / "index.parquet").to_pydict()
    classes = description["classes"]
    position = {name: i for i, name in enumerate(classes)}
    if description["task"] == "multi":
        labels = np.zeros((len(index["label"]), len(classes)), np.uint8)
        for row, joined in enumerate(index["label"]):
            labels[row, [position[name] for name in split_labels(joined)]] = 1
    else:
        labels = np.array([position[label] for label in index["label"]], np.int64)
    images = _open_images(folder, len(labels), size=description["size"])
    recorded = description.pop("images_sha256", None)  # missing in older packs
    if len(labels):
        images.recorded_hash = recorded  # type: ignore[attr-defined]  # parts of it have none
    return Pack(
        images=images,
        labels=labels,
        ids=index["id"],
        variants=np.array(index["variant"], np.int32),
        transformations=index["transformation"],
        groups=index.get("group", ()),  # missing in older packs
        **description,
    )


def files_to_hash(folder: Path) -> list[Path]:
    """List the files that show whether packs in a folder are the same, without their images."""
    return sorted([*folder.rglob("pack.json"), *folder.rglob("index.parquet")])


def _open_images(folder: Path, n_images: int, *, size: int) -> np.ndarray:
    """Open the images of a pack; they stay on the disk."""
    jpegs, raw = folder / "images.arrow", folder / "images.npy"
    if jpegs.is_file():
        with explain_damage(jpegs, kind="an Arrow file of JPEGs"):
            with jpegs.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return cast(np.ndarray, EncodedImages(mapped, size=size))
    with explain_damage(raw, kind="a NumPy array of images"):
        images = np.load(raw, mmap_mode="r" if n_images else None, allow_pickle=False)
        if not isinstance(images, np.ndarray):  # NumPy reads archives of arrays, too
            raise ValueError("an archive of several arrays")
    return images
