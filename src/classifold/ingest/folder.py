"""Read the layout `folder`: one folder per class, below folders of official splits if any."""

from collections.abc import Iterable

from classifold.data.image_table import UNLABELED
from classifold.ingest.class_names import is_class_names, read_class_names
from classifold.ingest.entries import NotRead, printable
from classifold.ingest.files import Files, is_system_folder
from classifold.ingest.folder_levels import find_levels
from classifold.ingest.folder_pattern import AUTO, match_pattern
from classifold.ingest.folder_tree import Levels, Path, folder_tree
from classifold.ingest.layout import Source, SourceImage, settle_splits
from classifold.ingest.tree import Tree


def read_folder(
    tree: Tree, files: Files, *, folders: str, where: str, labeled_elsewhere: bool = False
) -> Source:
    """Find the images of a tree with one folder per class.

    Folders that only wrap the classes (`fruit/cherry/1.jpg` in `fruit.zip`) are skipped; deeper
    folders belong to their class. Where `train/` and other splits (`val/`, `test/` ...) are above
    or below the classes, they are official splits. Images in a folder named `unlabelled` have no
    label, nor have those of a test split without class folders. If there is a `words.txt`, it
    names the classes.

    Args:
        tree: where the files are.
        files: the files of the tree.
        folders: `auto`, or what the folders of each level are; see `folder_pattern`.
        where: name of the source in messages.
        labeled_elsewhere: whether a validation split without class folders is accepted, since a
            table may have its labels.

    Raises:
        UserError: if an image is in no class folder, or the class folders are not certain.
    """
    root = folder_tree(files.images)
    if folders == AUTO:
        levels = find_levels(root, where=where, labeled_elsewhere=labeled_elsewhere)
    else:
        levels = match_pattern(root, folders, where=where)
    titles = read_class_names(
        tree, {place.label for place in levels.places.values() if place.label is not None}
    )
    # One tuple per class, shared by its images: there may be millions.
    described = {
        "/".join(path): (
            () if place.label is None else (titles.get(place.label, place.label),),
            place,
        )
        for path, place in levels.places.items()
    }
    ignored_in = {"/".join(path): reason for path, reason in levels.ignored.items()}
    images: list[SourceImage] = []
    ignored: list[NotRead] = []
    for name in files.images:
        parent = name.rpartition("/")[0]
        if parent in ignored_in:
            ignored.append(NotRead(name, ignored_in[parent]))
        else:
            labels, place = described[parent]
            images.append(SourceImage(name, labels, place.split, place.group))
    remarks = _describe(tree, files, levels)
    used = [name for name in files.named(".txt") if titles and is_class_names(name)]
    return Source("folder", settle_splits(images, remarks), [], remarks, used, ignored)


def _describe(tree: Tree, files: Files, levels: Levels) -> list[str]:
    remarks = []
    if any(split != UNLABELED for split in levels.splits.values()):
        folders = ", ".join(
            folder if folder == split else f"{folder} ({split})"
            for folder, split in sorted(levels.splits.items())
        )
        remarks.append(f"official splits: {folders}")
    if empty := _empty_class_folders(tree, files, levels):
        remarks.append(f"class folders without an image: {', '.join(map(printable, empty))}")
    return remarks


def _empty_class_folders(tree: Tree, files: Files, levels: Levels) -> list[str]:
    """List the folders beside class folders that have no image."""

    def children(paths: Iterable[Path]) -> set[Path]:
        return {
            path[: depth + 1]
            for path in paths
            for depth in range(len(path))
            if path[:depth] in levels.parents
        }

    parents = {item.id.rpartition("/")[0] for item in files.others} | set(tree.empty_folders)
    seen = children(tuple(parent.split("/")) for parent in parents if parent)
    empty = seen - children([*levels.places, *levels.ignored])
    return sorted("/".join(path) for path in empty if not any(map(is_system_folder, path)))
