"""Images to be answered for: files, folders, archives, and the table's unlabelled ones."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from classifold.data.image_table import UNLABELLED, iter_columns, iter_images
from classifold.data.pixels import rgb_pixels
from classifold.errors import UserError
from classifold.ingest.archives import is_tar, is_zip
from classifold.ingest.entries import readable_id
from classifold.ingest.images import EXTENSIONS, UNREAD_EXTENSIONS
from classifold.ingest.ingestion import CRASHED, Read, decode_read, read_image
from classifold.ingest.layout import image_names
from classifold.ingest.tree import open_tree, read_file
from classifold.runtime.parallel import ordered_map


class _Part(NamedTuple):
    """Images of one argument; `reads` gives their files in the order of `names`."""

    names: list[str]
    reads: Iterator[Read]


class NewImages:
    """Images by their names, which are read when they are asked for, and once."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.names = [name for part in parts for name in part.names]
        self._parts = parts

    def pixels(
        self, *, size: int, resize: str, background: Sequence[int]
    ) -> Iterator[np.ndarray | str]:
        """Decode and resize the images as `ingest` and `evaluate` do, in the order of `names`.

        A few hundred are in flight at most.

        Args:
            size: width and height wanted, in pixels.
            resize: the filter, a key of `FILTERS`.
            background: red, green, blue in [0, 255], of what shows through transparent pixels.

        Yields:
            uint8 array (size, size, 3), or the reason why there is none.
        """
        return ordered_map(
            partial(_pixels, size=size, resize=resize, background=tuple(background)),
            (read for part in self._parts for read in part.reads),
            n_items=len(self.names),
            n_bytes=lambda read: len(read.content),
            on_crash=lambda _: CRASHED,
        )


@contextmanager
def open_images(images: Iterable[str | Path], *, ingested: Path) -> Iterator[NewImages]:
    """Find images, and hold archives open while they are read.

    A file has the name it was given by; an image in a folder or an archive its path there
    besides (`fruit.zip/cherry/1.jpg`); an unlabelled one its id. In folders and archives,
    images are told by their extensions; what is there besides is passed over.

    Args:
        images: image files, folders (searched to the bottom), zip or tar archives, or the word
            `unlabelled`: the images of the table that have no label. A folder of that name is
            `./unlabelled`.
        ingested: the folder of the image table.

    Raises:
        UserError: if something is not there, is empty, is named twice or is a damaged archive.
    """
    with ExitStack() as stack:
        parts = [_open(image, stack, ingested=ingested) for image in images]
        found = NewImages(parts)
        name, count = next(iter(Counter(found.names).most_common(1)), ("", 0))
        if count > 1:
            raise UserError(f"{name} is named {count} times; name each image once")
        yield found


def _open(image: str | Path, stack: ExitStack, *, ingested: Path) -> _Part:
    if image == UNLABELLED:
        return _unlabelled(ingested)
    path = Path(image)
    if not path.exists():
        raise UserError(f"there is no file or folder {readable_id(str(path))}; correct the name")
    if path.is_dir() or _is_archive(path):
        return _inside(path, stack)
    reads = (read_image(read_file, name) for name in [str(path)])
    return _Part([readable_id(path.as_posix())], reads)


def _is_archive(path: Path) -> bool:
    # A picture whose bytes happen to look like an archive's is told by its name.
    if path.suffix.lower() in EXTENSIONS | UNREAD_EXTENSIONS or not path.is_file():
        return False
    return is_zip(path) or is_tar(path)


def _inside(path: Path, stack: ExitStack) -> _Part:
    where = readable_id(path.as_posix())
    tree = stack.enter_context(open_tree(path, scratch=Path(tempfile.gettempdir())))
    names = image_names(tree.names())
    if not names and not tree.refused:
        raise UserError(
            f"{where} holds {len(tree.names()):,} files and no image among them; name a file, "
            "a folder or an archive of images"
        )
    known = set(names)
    # An entry that a later one of its name replaces is not missed.
    refused = {item.id: item.reason for item in tree.refused if item.id not in known}
    reads = chain(
        (read_image(tree.read, name) for name in names),
        (Read(b"", reason) for reason in refused.values()),
    )
    return _Part([f"{where}/{name}" for name in (*names, *refused)], reads)


def _unlabelled(ingested: Path) -> _Part:
    if not ingested.is_dir():
        raise UserError(f"there is no image table in {ingested}; make it with 'dvc repro ingest'")
    rows = iter_columns(ingested, ["id", "split"])
    names = [row["id"] for row in rows if row["split"] == UNLABELLED]
    if not names:
        raise UserError(
            f"no image of the table in {ingested} is unlabelled; put such images into a folder "
            f"named '{UNLABELLED}' beside the classes' and run 'dvc repro ingest', or name files, "
            "folders or archives"
        )
    return _Part(names, (Read(encoded, None) for _, encoded in iter_images(ingested, names)))


def _pixels(read: Read, *, size: int, resize: str, background: Sequence[int]) -> np.ndarray | str:
    """Runs in other processes: the pixels, or the reason why there are none."""
    decoded = decode_read(read, background=background)
    if isinstance(decoded, str):
        return decoded
    return rgb_pixels(decoded.encoded, size=size, resize=resize)
