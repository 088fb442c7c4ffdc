"""Find which level of folders are the classes, or refuse where that is not certain."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NoReturn

from classifold.data.image_table import TEST, UNLABELED
from classifold.errors import UserError
from classifold.ingest.folder_pattern import KEYWORDS
from classifold.ingest.folder_tree import (
    NO_LABEL,
    Folder,
    Levels,
    Place,
    UncertainFoldersError,
    class_name,
    skip_wrapping,
)
from classifold.ingest.split_names import (
    TRAIN,
    is_data_word,
    is_unlabeled,
    may_be_splits,
    official_splits,
)

SETTING = "dataset.folders"

DATE = re.compile(r"(?:19|20)\d\d(?:[-_. ]?[01]\d(?:[-_. ]?[0-3]\d)?)?")

NAMES_SHOWN = 5


def find_levels(root: Folder, *, where: str) -> Levels:
    """Find the class folders, and official splits above or below them.

    Args:
        root: the folders with images.
        where: name of the source in messages.

    Raises:
        UserError: if an image is in no class folder, or if it is not certain which folders are
            the classes.
    """
    top = skip_wrapping(root)
    _refuse_loose(top, where=where)
    splits = official_splits(top.folders)
    if splits is not None:
        return _in_splits(top, splits, where=where)
    if may_be_splits(top.folders):
        _refuse(
            top,
            f"only some of the folders {_listed(top.folders)} look like official splits",
            f"{_pattern(top, 'split', 'class')} to read the splits and ignore the other folders, "
            f"or {_pattern(top, 'class')} if all of them are classes",
            where=where,
        )
    if _have_splits(top):
        levels = Levels({}, set(), {}, {})
        for folder in top.folders.values():
            if is_unlabeled(folder.name):
                _place(levels, folder, NO_LABEL)
                continue
            found = official_splits(folder.folders) or {}
            levels.splits.update(found)
            levels.parents.add(top.path)
            for name, split in found.items():
                label = class_name(folder.name) if split != UNLABELED else None
                _place(levels, folder.folders[name], Place(label, split))
        return levels
    _refuse_doubt(top, where=where)
    levels = Levels({}, set(), {}, {})
    _place_classes(levels, top, split=None)
    return levels


def _in_splits(top: Folder, splits: Mapping[str, str], *, where: str) -> Levels:
    """Read the classes in each split; a test split without class folders is unlabelled."""
    levels = Levels({}, set(), {}, dict(splits))
    classes: set[str] = set()
    # The training images come first: they have all classes.
    for name, split in sorted(splits.items(), key=lambda item: item[1] != TRAIN):
        inner = skip_wrapping(top.folders[name], keep=classes)
        if split == TRAIN:
            _refuse_loose(inner, where=where)
            _refuse_doubt(inner, where=where)
            classes |= set(inner.folders)
        known = {class_name(folder) for folder in classes}
        found = {class_name(folder) for folder in inner.folders if not is_unlabeled(folder)}
        if split == UNLABELED or (split == TEST and not found & known):
            if split == TEST and len(found) > 1:
                raise UserError(
                    f"dataset.path: none of the folders {_listed(found)} in "
                    f"{'/'.join(inner.path)} of {where} is a class of the training images, got "
                    f"{_listed(known)}. Rename the folders, or remove them if the images are "
                    "unlabelled."
                )
            _place(levels, inner, NO_LABEL)
            continue
        _refuse_loose(inner, where=where)
        _place_classes(levels, inner, split=split)
    return levels


def _place_classes(levels: Levels, parent: Folder, *, split: str | None) -> None:
    levels.parents.add(parent.path)
    for folder in parent.folders.values():
        unlabelled = is_unlabeled(folder.name)
        _place(levels, folder, NO_LABEL if unlabelled else Place(class_name(folder.name), split))


def _place(levels: Levels, folder: Folder, place: Place) -> None:
    levels.places.update((inner.path, place) for inner in folder.walk() if inner.n_images)


def _have_splits(top: Folder) -> bool:
    """Check whether each class has folders of official splits, a held-out one among them."""
    classes = [folder for folder in top.folders.values() if not is_unlabeled(folder.name)]
    names = {name for folder in classes for name in folder.folders}
    return may_be_splits(names) and all(
        not folder.n_images and official_splits(folder.folders) is not None for folder in classes
    )


def _refuse_loose(folder: Folder, *, where: str) -> None:
    """Refuse images that are beside the class folders, or in none."""
    if not folder.n_images:
        return
    place = repr("/".join(folder.path)) if folder.path else "the top folder"
    remedy = "Move them into the folder of their class, or into one named 'unlabelled'"
    if folder.folders:
        remedy += f", or set {SETTING} to {_pattern(folder, 'class')} to ignore them"
    else:
        remedy += ", or add a table of their labels"
    raise UserError(
        f"dataset.path: {folder.n_images:,} of {folder.total():,} images in {place} of {where} are "
        f"in no class folder. {remedy}."
    )


def _refuse_doubt(top: Folder, *, where: str) -> None:
    """Refuse folders that are hardly the classes, where others below them may be."""
    folders = [folder for folder in top.folders.values() if not is_unlabeled(folder.name)]
    if len(folders) < 2:
        return
    leaves = [folder for folder in folders if folder.n_images]
    containers = [folder for folder in folders if not folder.n_images]
    n_in = Counter(name for folder in containers for name in folder.folders)
    shared = [name for name, count in n_in.items() if count > 1]
    below = _listed(sorted(n_in, key=lambda name: (-n_in[name], name)))
    names = _listed(top.folders)
    choices = (
        f"{_pattern(top, 'any', 'class')} if the folders in them are the classes "
        f"({_pattern(top, 'group', 'class')} to also keep each of {names} in one split), or "
        f"{_pattern(top, 'class')} if {names} are the classes"
    )
    of_data = [folder for folder in folders if is_data_word(folder.name)]
    if of_data:
        name = of_data[0].name
        inner = _pattern(top, name, "class")
        within = f"{inner} to read the class folders in {name!r}, or "
        _refuse(
            top,
            f"{name!r} beside {_listed(set(top.folders) - {name})} is hardly a class",
            (within if len(of_data[0].folders) > 1 else "")
            + f"{_pattern(top, 'class')} if all of {names} are classes",
            where=where,
        )
    if containers and all(DATE.fullmatch(folder.name) for folder in folders):
        _refuse(top, f"the folders {names} are named after dates and hold {below}", choices,
                where=where)  # fmt: skip
    if not leaves and _are_shared(n_in, shared):
        example = next((name for name in shared if is_data_word(name)), None)
        if example:
            choices += f" ({_pattern(top, 'class', example)} to read only {example!r} in them)"
        _refuse(top, f"the folders {names} hold the same folders ({below})", choices, where=where)
    several = [folder for folder in containers if len(folder.folders) > 1]
    n_below = len({name for folder in several for name in folder.folders})
    if leaves and n_below > len(leaves):
        largest = max(several, key=lambda folder: len(folder.folders)).name
        _refuse(
            top,
            f"{largest!r} holds folders ({_listed(top.folders[largest].folders)}), but "
            f"{_listed(folder.name for folder in leaves)} images",
            f"{_pattern(top, largest, 'class')} if the folders in {largest!r} are the classes, or "
            f"{_pattern(top, 'class')} if {names} are",
            where=where,
        )


def _are_shared(n_in: Counter[str], shared: Collection[str]) -> bool:
    """Check whether most folders below have a name that others have too.

    One shared name is no choice of classes (`cat/images`, `dog/images`).
    """
    n_shared = sum(n_in[name] for name in shared)
    return len(n_in) > 1 and 2 * n_shared >= n_in.total() and (
        len(shared) > 1 or not all(map(is_data_word, shared))
    )  # fmt: skip


def _refuse(top: Folder, found: str, choices: str, *, where: str) -> NoReturn:
    at = f" (in {'/'.join(top.path)})" if top.path else ""
    raise UncertainFoldersError(
        f"{SETTING}: {found} in {where}{at}, got auto. Set it to {choices}."
    )


def _pattern(top: Folder, *parts: str) -> str:
    wrapping = ["any" if name in KEYWORDS else name for name in top.path]
    return "/".join((*wrapping, *parts))


def _listed(names: Iterable[str]) -> str:
    ordered = list(names) if isinstance(names, list) else sorted(names)
    more = len(ordered) - NAMES_SHOWN
    return ", ".join(ordered[:NAMES_SHOWN]) + (f" and {more:,} others" if more > 0 else "")
