"""Read the images to classify: files, folders, archives, and unlabeled images of the table."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.deep_ranges import Ranges
from classifold.data.image_table import UNLABELED, iter_columns, iter_images
from classifold.data.pixels import to_pixels
from classifold.errors import UserError
from classifold.ingest.deep_summary import describe_use
from classifold.ingest.entries import readable_id
from classifold.ingest.files import sort_files
from classifold.ingest.formats import EXTENSIONS, UNSUPPORTED_EXTENSIONS
from classifold.ingest.images import WHITE, Hashes, hash_pixels
from classifold.ingest.ingestion import CRASHED, Read, decode_rgb_read, read_image
from classifold.ingest.tar_archive import is_tar
from classifold.ingest.tree import open_tree, read_file
from classifold.ingest.zip_archive import is_zip
from classifold.runtime.parallel import ordered_map


class _Group(NamedTuple):
    """The images of one argument; `reads` has their files in the order of `names`."""

    names: list[str]
    reads: Iterator[Read]


class NewPixels(NamedTuple):
    """The pixels of an image, or the reason why there are none."""

    pixels: np.ndarray | None  # uint8 (size, size, 3)
    reason: str | None = None
    remark: str | None = None  # what its owner should know
    width: int = 0  # before it was resized, in pixels
    height: int = 0
    hashes: Hashes | None = None  # of the RGB image before it was resized, if they are wanted


class NewImages:
    """The names of images, and their pixels, which are read on demand and once."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self.names = [name for group in groups for name in group.names]
        self._groups = groups

    def pixels(
        self,
        *,
        size: int,
        resize: str,
        background: Sequence[int],
        ranges: Ranges,
        hashed: bool = False,
    ) -> Iterator[NewPixels]:
        """Decode and resize the images as `ingest` and `evaluate` do, in the order of `names`.

        At most a few hundred are in memory at a time.

        Args:
            size: width and height of the result, in pixels.
            resize: the filter, a key of `FILTERS`.
            background: red, green, blue in [0, 255], the color behind transparent pixels.
            ranges: ranges of deep images, as those that the model was trained on were converted.
            hashed: whether hashes are wanted, to find duplicates.
        """
        return ordered_map(
            partial(
                decode_pixels,
                size=size,
                resize=resize,
                background=tuple(background),
                ranges=ranges,
                hashed=hashed,
            ),
            (read for group in self._groups for read in group.reads),
            n_items=len(self.names),
            n_bytes=lambda read: len(read.content),
            on_crash=lambda _: NewPixels(None, reason=CRASHED),
        )


@contextmanager
def open_images(
    images: Iterable[str | Path], *, ingested: Path, start: Path = Path()
) -> Iterator[NewImages]:
    """Find images, and keep archives open while the block runs.

    A file is named as it was given; an image in a folder or an archive has its path inside
    appended (`fruit.zip/cherry/1.jpg`); an unlabeled image is named by its id. In folders and
    archives, images are recognized by their extensions, or by their content where the extension is
    unknown; other files are ignored.

    Args:
        images: image files, folders (searched recursively), zip or tar archives, or the word
            `unlabelled`: the images of the table that have no label. A folder of that name is
            `./unlabelled`.
        ingested: the folder of the image table.
        start: the folder that relative paths of `images` start at; it is no part of the names.

    Raises:
        UserError: if an argument is missing, empty, given twice or a damaged archive.
    """
    with ExitStack() as stack:
        opened = NewImages(
            [_open(image, stack, ingested=ingested, start=start) for image in images]
        )
        name, count = next(iter(Counter(opened.names).most_common(1)), ("", 0))
        if count > 1:
            raise UserError(f"{name}: must be given once, got {count} times. Remove the others.")
        yield opened


def read_image_files(paths: Sequence[Path], *, size: int, ranges: Ranges) -> np.ndarray:
    """Read image files of any format as uint8 array (N, size, size, 3).

    Raises:
        UserError: if one cannot be decoded.
    """
    images = []
    for path in paths:
        read = read_image(read_file, str(path))
        image = decode_pixels(read, size=size, resize="lanczos", background=WHITE, ranges=ranges)
        if image.pixels is None:
            raise UserError(f"{path}: cannot be read ({image.reason}). Choose another file.")
        images.append(image.pixels)
    return np.stack(images)


def _open(image: str | Path, stack: ExitStack, *, ingested: Path, start: Path) -> _Group:
    if image == UNLABELED:
        return _unlabeled(ingested)
    given = readable_id(Path(image).as_posix())
    path = start / image
    if not path.exists():
        raise UserError(f"{given}: no such file or folder. Correct the name.")
    if path.is_dir() or _is_archive(path):
        return _open_tree(path, stack, given=given)
    reads = (read_image(read_file, name) for name in [str(path)])
    return _Group([given], reads)


def _is_archive(path: Path) -> bool:
    # An image whose bytes happen to look like those of an archive is recognized by its name.
    if path.suffix.lower() in EXTENSIONS | UNSUPPORTED_EXTENSIONS or not path.is_file():
        return False
    return is_zip(path) or is_tar(path)


def _open_tree(path: Path, stack: ExitStack, *, given: str) -> _Group:
    tree = stack.enter_context(open_tree(path, scratch=Path(tempfile.gettempdir())))
    names = sort_files(tree).images
    if not names and not tree.refused:
        raise UserError(
            f"{given}: none of its {len(tree.names()):,} files is an image. Name a file, a folder "
            "or an archive of images."
        )
    known = set(names)
    # A refused entry does not matter if another entry of the same name is accepted.
    refused = {item.id: item.reason for item in tree.refused if item.id not in known}
    reads = chain(
        (read_image(tree.read, name) for name in names),
        (Read(b"", reason) for reason in refused.values()),
    )
    return _Group([f"{given}/{name}" for name in (*names, *refused)], reads)


def _unlabeled(ingested: Path) -> _Group:
    if not ingested.is_dir():
        raise UserError(f"{ingested}: there is no image table. Make it with 'dvc repro ingest'.")
    rows = iter_columns(ingested, ["id", "split"])
    names = [row["id"] for row in rows if row["split"] == UNLABELED]
    if not names:
        raise UserError(
            f"{ingested}: no image is unlabeled. Put such images into a folder named "
            f"'{UNLABELED}' beside those of the classes and run 'dvc repro ingest', or name "
            "files, folders or archives."
        )
    return _Group(names, (Read(encoded, None) for _, encoded in iter_images(ingested, names)))


def decode_pixels(
    read: Read,
    *,
    size: int,
    resize: str,
    background: Sequence[int],
    ranges: Ranges,
    hashed: bool = False,
) -> NewPixels:
    """Decode and resize one file, in any process; see `NewImages.pixels` for the arguments."""
    rgb = decode_rgb_read(read, background=background, ranges=ranges)
    if isinstance(rgb, str):
        return NewPixels(None, reason=rgb)
    return NewPixels(
        to_pixels(rgb.image, size=size, resize=resize),
        remark=rgb.deep and describe_use(rgb.deep),
        width=rgb.image.width,
        height=rgb.image.height,
        hashes=hash_pixels(rgb.image) if hashed else None,
    )
