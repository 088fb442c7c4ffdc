"""Read the layout `tiny-imagenet`: Tiny ImageNet as Stanford's CS231n distributes it.

`wnids.txt`, `words.txt`, `train/<wnid>/images/*.JPEG` with `<wnid>_boxes.txt` beside,
`val/images` with `val_annotations.txt`, and `test/images` without labels.
"""

from classifold.data.image_table import UNLABELED
from classifold.errors import UserError
from classifold.ingest.class_names import read_class_names
from classifold.ingest.entries import NotRead
from classifold.ingest.files import Files
from classifold.ingest.layout import (
    Box,
    Source,
    SourceImage,
    settle_splits,
)
from classifold.ingest.tree import Tree, read_listed

COLUMNS_OF_BOXES = 5
COLUMNS_OF_ANNOTATIONS = 6


def is_tiny_imagenet(names: list[str]) -> bool:
    """Check whether the files are present that define this layout."""
    return _root(names) is not None


def read_tiny_imagenet(tree: Tree, files: Files, *, where: str) -> Source:
    """Find the images, their classes and bounding boxes.

    Args:
        tree: where the files are.
        files: the files of the tree.
        where: name of the source in messages.

    Raises:
        UserError: if a file of the layout is missing or invalid.
    """
    names = tree.names()
    root = _root(names)
    if root is None:
        raise UserError(
            f"dataset.layout: {where} lacks wnids.txt or val/val_annotations.txt, got "
            "tiny-imagenet. Correct the layout; auto detects it."
        )
    wnids = set(read_listed(tree, f"{root}wnids.txt").decode("utf-8", "replace").split())
    titles = read_class_names(tree, wnids)
    labels = {wnid: (titles.get(wnid, wnid),) for wnid in wnids}
    annotations = _read_val_annotations(tree, f"{root}val/val_annotations.txt")
    boxes: dict[str, Box] = {}
    for name in names:
        if name.startswith(f"{root}train/") and name.endswith("_boxes.txt"):
            boxes.update(_read_boxes(tree, name))

    images: list[SourceImage] = []
    for name in files.images:
        split, _, inside = name.removeprefix(root).partition("/")
        folder, file = inside.partition("/")[0], name.rsplit("/", 1)[-1]
        if split == "train" and folder in labels:
            box = boxes.get(file)
            images.append(SourceImage(name, labels[folder], "train", boxes=(box,) if box else None))
        elif split == "val" and file in annotations:
            wnid, box = annotations.pop(file)
            if wnid not in labels:
                raise UserError(
                    f"val_annotations.txt: the class of {file!r} of {where} is not in wnids.txt, "
                    f"got {wnid!r}. Add it there, or remove the line."
                )
            images.append(SourceImage(name, labels[wnid], "validation", boxes=(box,)))
        elif split == "train":
            raise UserError(
                f"wnids.txt: the folder of {name!r} of {where} is not listed. Add it there, or "
                "remove the folder."
            )
        else:
            images.append(SourceImage(name, (), UNLABELED))

    missing = [
        NotRead(
            f"{root}val/images/{file}", "val_annotations.txt lists it, but there is no such image"
        )
        for file in annotations
    ]
    remarks = [f"{sum(image.boxes is not None for image in images):,} images have bounding boxes"]
    used = [
        name
        for name in names
        if name.endswith(("_boxes.txt", "wnids.txt", "words.txt", "val_annotations.txt"))
    ]
    return Source("tiny-imagenet", settle_splits(images, remarks), missing, remarks, used)


def _root(names: list[str]) -> str | None:
    """Find the folder of the data, "" or with a slash at its end."""
    roots = [
        name.removesuffix("wnids.txt") for name in names if name.rsplit("/", 1)[-1] == "wnids.txt"
    ]
    present = set(names)
    return next((root for root in roots if f"{root}val/val_annotations.txt" in present), None)


def _read_boxes(tree: Tree, name: str) -> dict[str, Box]:
    return {
        fields[0]: _box(fields[1:], name) for fields in _read_fields(tree, name, COLUMNS_OF_BOXES)
    }


def _read_val_annotations(tree: Tree, name: str) -> dict[str, tuple[str, Box]]:
    """Read the annotations: file -> wnid and bounding box."""
    return {
        fields[0]: (fields[1], _box(fields[2:], name))
        for fields in _read_fields(tree, name, COLUMNS_OF_ANNOTATIONS)
    }


def _read_fields(tree: Tree, name: str, n_columns: int) -> list[list[str]]:
    lines = read_listed(tree, name).decode("utf-8", "replace").splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != n_columns:
            raise UserError(
                f"{name}: line {number} must have {n_columns} columns separated by tabs, got "
                f"{len(row)}. Correct it."
            )
    return rows


def _box(fields: list[str], name: str) -> Box:
    try:
        x0, y0, x1, y1 = map(int, fields)
    except ValueError:
        raise UserError(
            f"{name}: a bounding box must be four integers (x0, y0, x1, y1 in pixels), got "
            f"{' '.join(fields)!r}. Correct it."
        ) from None
    return x0, y0, x1, y1
