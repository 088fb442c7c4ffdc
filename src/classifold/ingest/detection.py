"""Detect the layout of a source, and read its images and labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classifold.errors import UserError
from classifold.ingest.annotations import is_annotations, read_annotations
from classifold.ingest.folder import read_folder
from classifold.ingest.label_table import is_table, read_table
from classifold.ingest.layout import Source, check_labels, image_names
from classifold.ingest.tiny_imagenet import is_tiny_imagenet, read_tiny_imagenet
from classifold.ingest.tree import Tree, open_tree
from classifold.ingest.unreadable import format_reasons

TORCHVISION = "torchvision:"


@contextmanager
def open_source(
    path: str, *, layout: str, task: str, scratch: Path
) -> Iterator[tuple[Tree, Source]]:
    """Open the data at `path` and find the images.

    Args:
        path: a folder or an archive.
        layout: `auto`, `folder`, `tiny-imagenet`, `annotations`, `table`, or
            `torchvision:<Class>`.
        task: `single` or `multi`.
        scratch: a folder with room for the unpacked content of a compressed tar archive.

    Raises:
        UserError: if the data are missing, or do not match the layout.
    """
    if layout.startswith(TORCHVISION):
        # Slow to import, and other layouts do not need it.
        from classifold.ingest.torchvision_dataset import open_dataset  # noqa: PLC0415

        dataset, source = open_dataset(layout.removeprefix(TORCHVISION), Path(path))
        check_labels(source.images, task=task, where=path)
        yield dataset, source
        return
    with open_tree(Path(path), scratch=scratch) as tree:
        yield tree, find_source(tree, layout=layout, task=task, where=path)


def find_source(tree: Tree, *, layout: str, task: str, where: str) -> Source:
    """Find the images of a source with their labels.

    Args:
        tree: where the files are.
        layout: a layout's name, or `auto`, which tries the most specific layout first.
        task: `single` or `multi`.
        where: name of the source in messages.

    Raises:
        UserError: if there is no image, or the source does not match its layout.
    """
    names = tree.names()
    if not image_names(names):
        if tree.refused:
            raise UserError(
                f"dataset.path: no image of {where} can be read: {format_reasons(tree.refused)}. "
                "Fix the archive or the files."
            )
        raise UserError(
            f"dataset.path: {where} has {len(names):,} files and no image among them. Put images "
            "into one folder per class, or beside a table of labels."
        )
    if layout == "auto":
        layout = _detect(tree)
    match layout:
        case "tiny-imagenet":
            source = read_tiny_imagenet(tree, where=where)
        case "annotations":
            source = read_annotations(tree, task=task, where=where)
        case "table":
            source = read_table(tree, task=task, where=where)
        case _:
            source = read_folder(tree, where=where)
    check_labels(source.images, task=task, where=where)
    return source


def _detect(tree: Tree) -> str:
    if is_tiny_imagenet(tree.names()):
        return "tiny-imagenet"
    if is_annotations(tree):
        return "annotations"
    return "table" if is_table(tree) else "folder"
