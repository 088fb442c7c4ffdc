"""Detect the layout of a source, and read its images and labels."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from classifold.errors import UserError, list_names
from classifold.ingest.annotations import is_annotations, read_annotations
from classifold.ingest.competing_labels import choose_labels, lack_labels, n_classes
from classifold.ingest.entries import NotRead, printable
from classifold.ingest.files import Files, describe_ignored, extension, sort_files, without
from classifold.ingest.folder import read_folder
from classifold.ingest.folder_pattern import AUTO
from classifold.ingest.folder_tree import UncertainFoldersError
from classifold.ingest.label_table import NoImageListedError, Tables, find_tables, read_tables
from classifold.ingest.layout import Source, check_labels
from classifold.ingest.split_names import split_name
from classifold.ingest.tiny_imagenet import is_tiny_imagenet, read_tiny_imagenet
from classifold.ingest.tree import Tree, open_tree
from classifold.ingest.unreadable import format_reasons

TORCHVISION = "torchvision:"

CLASSES_SHOWN = 100
LISTS_SHOWN = 5

PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".parquet", ".npz", ".h5", ".hdf5", ".mat")
UNREAD_SPLITS = (".txt", ".json", ".lst", ".mat")
UNREAD_TABLES = (".xlsx", ".xls", ".ods", ".json")


@contextmanager
def open_source(
    path: str, *, layout: str, task: str, scratch: Path, folders: str = AUTO
) -> Iterator[tuple[Tree, Source]]:
    """Open the data at `path` and find the images.

    Args:
        path: a folder or an archive.
        layout: `auto`, `folder`, `tiny-imagenet`, `annotations`, `table`, or
            `torchvision:<Class>`.
        task: `single` or `multi`.
        scratch: a folder with room for the unpacked content of a compressed tar archive.
        folders: in the layout `folder`, what the folders of each level are; see `folder_pattern`.

    Raises:
        UserError: if the data are missing, or do not match the layout.
    """
    if layout.startswith(TORCHVISION):
        # Slow to import, and other layouts do not need it.
        from classifold.ingest.torchvision_dataset import open_dataset  # noqa: PLC0415

        dataset, source = open_dataset(layout.removeprefix(TORCHVISION), Path(path))
        check_labels(source.images, task=task, where=path)
        yield dataset, source._replace(remarks=[*source.remarks, *_describe_classes(source)])
        return
    with open_tree(Path(path), scratch=scratch) as tree:
        yield tree, find_source(tree, layout=layout, task=task, where=path, folders=folders)


def find_source(tree: Tree, *, layout: str, task: str, where: str, folders: str = AUTO) -> Source:
    """Find the images of a source with their labels.

    Args:
        tree: where the files are.
        layout: a layout's name, or `auto`, which tries the most specific layout first.
        task: `single` or `multi`.
        where: name of the source in messages.
        folders: in the layout `folder`, what the folders of each level are; see `folder_pattern`.

    Raises:
        UserError: if there is no image, or the source does not match its layout.
    """
    files = sort_files(tree)
    if not files.images:
        if tree.refused:
            raise UserError(
                f"dataset.path: no image of {where} can be read: {format_reasons(tree.refused)}. "
                "Fix the archive or the files."
            )
        packed = files.named(*PACKED)
        raise UserError(
            f"dataset.path: {where} has {len(tree.names()):,} files and no image among them. Put "
            "images into one folder per class, or beside a table of labels."
            + (f" Unpack {packed[0]}: files in files are not read." if packed else "")
        )
    if layout == AUTO and folders != AUTO:
        layout = "folder"
    match layout:
        case "tiny-imagenet":
            source = read_tiny_imagenet(tree, files, where=where)
        case "annotations":
            source = read_annotations(tree, files, task=task, where=where)
        case "table":
            source = read_tables(find_tables(tree, files), files, task=task, where=where)
        case "folder":
            source = read_folder(tree, files, folders=folders, where=where)
        case _:
            source = _detect(tree, files, task=task, where=where)
    remarks = [*source.remarks, *_describe_unlisted(source.n_unlisted)]
    check_labels(source.images, task=task, where=where, remarks=remarks)
    ignored = sorted([*files.hidden, *without(files.others, source.used), *source.ignored])
    remarks += [*_describe_classes(source), *_describe_missing(source.missing)]
    remarks += _describe_unread_splits(without(files.others, source.used))
    if ignored:
        remarks.append(f"{len(ignored):,} ignored files: {describe_ignored(ignored)}")
    return source._replace(remarks=remarks, ignored=ignored)


def _detect(tree: Tree, files: Files, *, task: str, where: str) -> Source:
    """Read the most specific layout; class folders that contradict it are an error."""
    if is_tiny_imagenet(tree.names()):
        return read_tiny_imagenet(tree, files, where=where)
    tables = find_tables(tree, files)
    by_folder: Source | None = None
    failure: UserError | None = None
    try:
        by_folder = read_folder(
            tree, files, folders=AUTO, where=where, labeled_elsewhere=bool(tables.labels)
        )
    except UserError as error:
        failure = error
    has_classes = by_folder is not None and n_classes(by_folder) > 1
    by_list, remarks = _read_lists(
        tree, files, tables, has_classes=has_classes, task=task, where=where
    )
    if by_list is None and failure is not None:
        remarks += [
            f"{name} is no kind of table that is read; save it as CSV"
            for name in files.named(*UNREAD_TABLES)
        ]
        raise UserError(" ".join([str(failure), *(f"{remark}." for remark in remarks)]))
    if by_list is None:
        # Tables that are not used have no labels for a validation split without class folders.
        strictly = by_folder if not tables.labels else None
        source = strictly or read_folder(tree, files, folders=AUTO, where=where)
    elif by_folder is not None and has_classes:
        source = choose_labels(by_list, by_folder, where=where)
    elif failure is not None and lack_labels(
        by_list, files.images, uncertain=isinstance(failure, UncertainFoldersError)
    ):
        raise UserError(f"{failure} Or set dataset.layout to {by_list.layout}.")
    else:
        source = by_list
    return source._replace(remarks=[*source.remarks, *remarks])


def _read_lists(
    tree: Tree, files: Files, tables: Tables, *, has_classes: bool, task: str, where: str
) -> tuple[Source | None, list[str]]:
    """Read lists of image numbers or tables, and describe those that have no labels.

    Args:
        tree: where the files are.
        files: the files of the tree.
        tables: the tables of the tree.
        has_classes: whether there are class folders, which are preferred to tables without usual
            names of columns, and to tables and lists that name no image.
        task: `single` or `multi`.
        where: name of the source in messages.

    Raises:
        UserError: if the labels are invalid.
    """
    remarks = [f"{item.id} is not used as labels: {item.reason}" for item in tables.unused]
    try:
        if is_annotations(tree, files):
            by_list = read_annotations(tree, files, task=task, where=where)
            if n_classes(by_list) or not has_classes:
                return by_list, remarks
            remarks.append(f"{', '.join(by_list.used)}: not used as labels of numbered images")
        elif has_classes and tables.labels and not tables.are_named:
            names = ", ".join(table.name for table in tables.labels)
            remarks.append(f"{names}: not used as labels; class folders are preferred")
        elif tables.labels or (tables.failures and not has_classes):
            return read_tables(tables, files, task=task, where=where), remarks
    except NoImageListedError as error:
        if not has_classes:
            raise
        remarks.append(f"not used as labels: {error}")
    except UserError as error:
        if not has_classes:
            raise
        raise UserError(f"{error} Or set dataset.layout to folder for class folders.") from None
    return None, remarks


def _describe_unlisted(n_unlisted: int) -> list[str]:
    """State how many images are in no row of a table."""
    return [f"{n_unlisted:,} images are in no row: unlabeled"] if n_unlisted else []


def _describe_classes(source: Source) -> list[str]:
    """List the classes with their numbers of images, and the splits."""
    per_class = Counter(label for image in source.images for label in image.labels)
    counts = [f"{printable(name)} {count:,}" for name, count in sorted(per_class.items())]
    shown = ", ".join(counts[:CLASSES_SHOWN])
    if len(counts) > CLASSES_SHOWN:
        shown += f" and {len(counts) - CLASSES_SHOWN:,} others, which metrics/ingest.json lists"
    remarks = [f"{len(counts):,} classes: {shown}"]
    alike: dict[str, list[str]] = {}
    for name in sorted(per_class):
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(map(repr, names))
            remarks.append(f"the classes {listed} differ only in case, spaces or Unicode form")
    per_split = Counter(image.split or "to be split" for image in source.images)
    if set(per_split) != {"to be split"}:
        counts = [f"{split} {count:,}" for split, count in sorted(per_split.items())]
        remarks.append(f"images per split: {', '.join(counts)}")
    return remarks


def _describe_missing(missing: Sequence[NotRead]) -> list[str]:
    if not missing:
        return []
    return [f"{len(missing):,} labels have no image, such as {missing[0].id!r}"]


def _describe_unread_splits(ignored: Sequence[NotRead]) -> list[str]:
    """Name lists of official splits, which would be lost, such as `meta/test.txt`."""
    lists = []
    for name in (item.id for item in ignored if extension(item.id) in UNREAD_SPLITS):
        stem = name.rpartition("/")[2].rpartition(".")[0]
        found = split_name(stem)
        if found.split and not found.rest and not any(map(str.isdigit, stem)):
            lists.append(name)
    if not lists:
        return []
    shown = list_names(lists, max_names=LISTS_SHOWN)
    return [
        f"{shown}: named after official splits, but not read; write a table with columns path, "
        "label and split to use them"
    ]
