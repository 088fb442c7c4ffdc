"""Read the layout `folder`: one folder per class, below folders of official splits if any."""

from collections.abc import Sequence

from classifold.data.image_table import TEST, UNLABELED
from classifold.errors import UserError
from classifold.ingest.class_names import read_class_names
from classifold.ingest.layout import (
    SPLIT_NAMES,
    Source,
    SourceImage,
    image_names,
    settle_splits,
    wrapping_folders,
)
from classifold.ingest.tree import Tree

Path = list[str]  # the names of the folders, and of the file


def read_folder(tree: Tree, *, where: str) -> Source:
    """Find the images of a tree with one folder per class.

    Folders that only wrap the classes (`fruit/cherry/1.jpg` in `fruit.zip`) are skipped; deeper
    folders belong to their class. Where `train/` and other splits (`val/`, `test/` …) are above
    the classes, they are official splits. Images in a folder named `unlabelled` have no label, nor
    have those of a test split without class folders. If there is a `words.txt`, it names the
    classes.

    Args:
        tree: where the files are.
        where: name of the source in messages.

    Raises:
        UserError: if an image is in no class folder.
    """
    names = image_names(tree.names())
    paths = [name.split("/") for name in names]
    depth = wrapping_folders(paths, inner=2)
    level = {path[depth] for path in paths}
    remarks: list[str] = []
    if _are_splits(level):
        images = _in_splits(names, paths, depth=depth, where=where)
        counted = ", ".join(sorted(level))
        remarks.append(f"official splits: {counted}")
    else:
        images = _in_classes(names, paths, depth=depth, split=None, where=where)

    titles = read_class_names(tree, {label for image in images for label in image.labels})
    if titles:
        images = [
            image._replace(labels=tuple(titles.get(label, label) for label in image.labels))
            for image in images
        ]
    return Source("folder", settle_splits(images, remarks), [], remarks)


def _are_splits(level: set[str]) -> bool:
    splits = {SPLIT_NAMES.get(name.lower()) for name in level - {UNLABELED}}
    return None not in splits and "train" in splits


def _in_splits(
    names: Sequence[str], paths: Sequence[Path], *, depth: int, where: str
) -> list[SourceImage]:
    positions_of: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        positions_of.setdefault(path[depth], []).append(position)
    classes = {
        path[depth + 1]
        for path in paths
        if SPLIT_NAMES.get(path[depth].lower()) == "train" and len(path) > depth + 2
    }
    images: list[SourceImage] = []
    for folder, positions in positions_of.items():
        inner_names = [names[position] for position in positions]
        inner_paths = [paths[position] for position in positions]
        split = SPLIT_NAMES.get(folder.lower(), UNLABELED)
        folders = {path[depth + 1] for path in inner_paths if len(path) > depth + 2}
        if split == UNLABELED or (split == TEST and not folders & classes):
            images += [SourceImage(name, (), UNLABELED) for name in inner_names]
        else:
            images += _in_classes(
                inner_names, inner_paths, depth=depth + 1, split=split, where=where
            )
    return images


def _in_classes(
    names: Sequence[str], paths: Sequence[Path], *, depth: int, split: str | None, where: str
) -> list[SourceImage]:
    loose = [name for name, path in zip(names, paths, strict=True) if len(path) == depth + 1]
    if loose:
        raise UserError(
            f"dataset.path: {len(loose):,} of {len(names):,} images of {where} are in no class "
            f"folder, such as {loose[0]!r}. Move them into the folder of their class, or into one "
            f"named '{UNLABELED}'."
        )
    # One tuple per class, shared by its images: there may be millions.
    labels = {path[depth]: (path[depth],) for path in paths}
    return [
        SourceImage(name, (), UNLABELED)
        if path[depth] == UNLABELED
        else SourceImage(name, labels[path[depth]], split)
        for name, path in zip(names, paths, strict=True)
    ]
