"""Find which level of folders are the classes, or refuse where that is not certain."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from classifold.data.image_table import TEST, UNLABELED
from classifold.errors import UserError, list_names
from classifold.ingest.entries import composed, printable
from classifold.ingest.folder_pattern import KEYWORDS
from classifold.ingest.folder_tree import (
    NO_LABEL,
    Folder,
    Levels,
    Place,
    UncertainFoldersError,
    skip_wrapping,
)
from classifold.ingest.split_names import (
    TRAIN,
    VALIDATION,
    SplitName,
    is_data_word,
    is_side_folder,
    is_unlabeled,
    may_be_splits,
    official_splits,
    split_name,
)

HELD_OUT = {SplitName(VALIDATION, ()), SplitName(TEST, ())}

SETTING = "dataset.folders"

_TIME = r"(?:[-_. T]?[0-2]\d(?:[-_.:h ]?[0-5]\d){1,2})?"
DATE = re.compile(
    r"(?:19|20)\d\d(?:[-_. ]?[01]\d(?:[-_. ]?[0-3]\d" + _TIME + ")?)?"  # 2023-01-05_143000
    r"|(?:19|20)\d\d[-_. ]?[WQ][0-5]?\d"  # 2023-W01
    r"|[0-3]?\d([-_. ])[0-3]?\d\1(?:19|20)\d\d" + _TIME  # 05.01.2023
)

NAMES_SHOWN = 5


def find_levels(root: Folder, *, where: str, labeled_elsewhere: bool = False) -> Levels:
    """Find the class folders, and official splits above or below them.

    Args:
        root: the folders with images.
        where: name of the source in messages.
        labeled_elsewhere: whether a validation split without class folders is accepted as
            unlabeled, as a test split is.

    Raises:
        UserError: if an image is in no class folder, or if it is not certain which folders are
            the classes.
    """
    top = skip_wrapping(root)
    splits = official_splits(top.folders)
    if splits is not None:
        _refuse_loose(top, where=where)
        return _in_splits(top, splits, where=where, labeled_elsewhere=labeled_elsewhere)
    folders = [folder for folder in top.folders.values() if not is_unlabeled(folder.name)]
    if may_be_splits(_like_splits(folders)):
        depth = max(len(skip_wrapping(folder).path) for folder in folders) - len(top.path)
        between = ("any",) * (depth - 1)
        # If there are no class folders at all, a table may have the labels.
        _refuse(
            top,
            f"only some of the folders {_listed(top.folders)} look like official splits",
            f"{_pattern(top, 'split', *between, 'class')} to read the splits and ignore the other "
            "folders, "
            f"or {_pattern(top, 'class')} if all of them are classes",
            where=where,
            error=UncertainFoldersError if any(folder.folders for folder in folders) else UserError,
        )
    if {split_name(folder.name) for folder in folders} == HELD_OUT:
        _refuse(
            top,
            f"the folders {_listed(top.folders)} are named after official splits without train",
            f"{_pattern(top, 'any', 'class')} if the folders in them are the classes, or "
            f"{_pattern(top, 'class')} if {_listed(top.folders)} are. If they are official splits, "
            "add train or rename one to it",
            where=where,
            error=UncertainFoldersError if any(folder.folders for folder in folders) else UserError,
        )
    below = {name: inner for folder in folders for name, inner in folder.folders.items()}
    if may_be_splits(below):
        return _with_splits_below(top, folders, where=where)
    _refuse_doubt(top, folders, where=where)
    _refuse_side_folders(top, folders, where=where)
    _refuse_loose(top, where=where)
    levels = Levels({}, set(), {}, {})
    _place_classes(levels, top, split=None)
    return levels


def _like_splits(folders: Sequence[Folder]) -> list[str]:
    """List the names that may be of splits, but not classes such as `test_tube`, with images."""
    splits_of = defaultdict(set)
    for folder in folders:
        splits_of[split_name(folder.name).rest].add(split_name(folder.name).split)
    return [
        folder.name
        for folder in folders
        if not (rest := split_name(folder.name).rest)
        or not folder.n_images
        or len(splits_of[rest]) > 1  # `cat_train`, `cat_test`, `dog_train`, `dog_test`
    ]


def _with_splits_below(top: Folder, folders: Sequence[Folder], *, where: str) -> Levels:
    """Read classes that hold folders of official splits."""
    splits = [inner for folder in folders for inner in folder.folders.values()]
    below = {name for split in splits for name in split.folders if name != split.path[-2]}
    different = [name for name in below if _are_names([name])]
    if len(different) > 1 or any(len(split.folders) > 1 for split in splits):
        of_data = [
            f" ({_pattern(folder, 'split', 'class')} to read only {folder.name!r})"
            for folder in folders
            if is_data_word(folder.name)
        ]
        _refuse(
            top,
            f"each of the folders {_listed(top.folders)} holds official splits, and these folders",
            f"{_pattern(top, 'any', 'split', 'class')} if the folders in the splits are the "
            f"classes{''.join(of_data[:1])}, or {_pattern(top, 'class', 'split')} if "
            f"{_listed(top.folders)} are",
            where=where,
        )
    levels = Levels({}, {top.path}, {}, {})
    for folder in top.folders.values():
        found = official_splits(folder.folders)
        if is_unlabeled(folder.name):
            _place(levels, folder, NO_LABEL)
            continue
        if folder.n_images or top.n_images or found is None:
            _refuse(
                top,
                f"not all images of the folders {_listed(top.folders)} are in folders of official "
                "splits",
                f"{_pattern(top, 'class', 'split')} to ignore the images beside the splits, or "
                f"{_pattern(top, 'class')} to ignore the splits",
                where=where,
            )
        levels.splits.update(found)
        for name, split in found.items():
            label = None if split == UNLABELED else composed(folder.name)
            _place(levels, folder.folders[name], Place(label, split))
    return levels


def _in_splits(
    top: Folder, splits: Mapping[str, str], *, where: str, labeled_elsewhere: bool
) -> Levels:
    """Read the classes in each split; a test split without class folders is unlabeled."""
    may_lack_labels = {TEST, VALIDATION} if labeled_elsewhere else {TEST}
    levels = Levels({}, set(), {}, dict(splits))
    classes: set[str] = set()
    for name in splits:
        for folder in top.folders[name].walk():
            folder.split_level = len(top.path)
    # The training images come first: they have all classes.
    for name, split in sorted(splits.items(), key=lambda item: item[1] != TRAIN):
        inner = skip_wrapping(top.folders[name], keep=classes)
        if split == TRAIN:
            within = [inner for inner in inner.folders.values() if not is_unlabeled(inner.name)]
            _refuse_doubt(inner, within, where=where)
            classes |= set(inner.folders)
        known = {composed(folder) for folder in classes}
        found = {composed(folder) for folder in inner.folders if not is_unlabeled(folder)}
        if split == UNLABELED or (split in may_lack_labels and not found & known):
            if split != UNLABELED and len(found) > 1:
                raise UserError(
                    f"dataset.path: none of the folders {_listed(found)} in "
                    f"{'/'.join(inner.path)} of {where} is a class of the training images, got "
                    f"{_listed(known)}. Rename the folders, or put the images into one folder if "
                    "they have no label."
                )
            _place(levels, inner, NO_LABEL)
            continue
        _refuse_loose(inner, where=where)
        _place_classes(levels, inner, split=split)
    return levels


def _place_classes(levels: Levels, parent: Folder, *, split: str | None) -> None:
    levels.parents.add(parent.path)
    for folder in parent.folders.values():
        unlabeled = is_unlabeled(folder.name)
        _place(levels, folder, NO_LABEL if unlabeled else Place(composed(folder.name), split))


def _place(levels: Levels, folder: Folder, place: Place) -> None:
    levels.places.update((inner.path, place) for inner in folder.walk() if inner.n_images)


def _refuse_loose(folder: Folder, *, where: str) -> None:
    """Refuse images that are beside the class folders or official splits, or in none."""
    if not folder.n_images:
        return
    place = repr("/".join(folder.path)) if folder.path else "the top folder"
    remedy = "Move them into the folder of their class, or into one named 'unlabelled'"
    if folder.folders:
        remedy += f", or set {SETTING} to {_class_pattern(folder)} to ignore them"
    else:
        remedy += ", or add a table of their labels"
    raise UserError(
        f"dataset.path: {folder.n_images:,} of {folder.total():,} images in {place} of {where} are "
        f"in no class folder, such as {folder.example!r}. {remedy}."
    )


def _refuse_doubt(top: Folder, folders: Sequence[Folder], *, where: str) -> None:
    """Refuse folders that are hardly the classes, where others below them may be."""
    if len(folders) < 2:
        return
    leaves = [folder for folder in folders if folder.n_images]
    containers = [skip_wrapping(folder) for folder in folders if not folder.n_images]
    n_levels = max((len(folder.path) for folder in containers), default=0) - len(top.path)
    between = ("any",) * (n_levels - 1)
    n_in = Counter(name for folder in containers for name in folder.folders)
    shared = [name for name, count in n_in.items() if count > 1]
    below = _listed(sorted(n_in, key=lambda name: (-n_in[name], name)))
    names = _listed(top.folders)
    split = ("split",) if may_be_splits(n_in) else ()
    choices = (
        f"{_pattern(top, 'any', *between, *split, 'class')} if the folders in them are the classes "
        f"({_pattern(top, 'group', *between, *split, 'class')} to also keep each of {names} in one "
        f"split), or {_pattern(top, 'class', *((*between, *split) if split else ()))} if {names} "
        "are the classes"
    )
    if of_data := [folder for folder in folders if is_data_word(folder.name)]:
        largest = max(of_data, key=lambda folder: len(skip_wrapping(folder).folders))
        within = f"{_class_pattern(largest)} to read the class folders in {largest.name!r}, or "
        _refuse(
            top,
            f"{largest.name!r} beside {_listed(top.folders.keys() - {largest.name})} is hardly a "
            "class",
            (within if len(skip_wrapping(largest).folders) > 1 else "")
            + f"{_pattern(top, 'class')} if all of {names} are classes, or add a table of labels",
            where=where,
        )
    for inner in containers:
        if len(inner.folders.keys() & top.folders.keys()) > 1:
            _refuse(
                top,
                f"{'/'.join(inner.path)!r} holds folders of the same names as those beside it",
                f"{_class_pattern(inner)} to read only these, or {_pattern(top, 'class')} if "
                f"{inner.name!r} is a class, too",
                where=where,
            )
    if containers and all(DATE.fullmatch(folder.name) for folder in folders):
        _refuse(top, f"the folders {names} are named after dates and hold {below}", choices,
                where=where)  # fmt: skip
    if not leaves and _are_shared(n_in, shared):
        example = next((name for name in shared if is_data_word(name)), None)
        if example:
            choices += f" ({_pattern(top, 'class', example)} to read only {example!r} in them)"
        elif len(folders) <= len({TRAIN, VALIDATION, TEST}):
            choices += ". If they are official splits, rename them to train, validation and test"
        _refuse(top, f"the folders {names} hold the same folders ({below})", choices, where=where)
    several = [folder for folder in containers if len(folder.folders) > 1]
    n_below = len({name for folder in several for name in folder.folders})
    if not leaves and n_below and len(several) < len(containers) and _are_names(n_in):
        largest = max(several, key=lambda folder: len(folder.folders))
        name = largest.path[len(top.path)]
        between = ("any",) * (len(largest.path) - len(top.path))
        _refuse(
            top,
            f"{name!r} holds several folders ({_listed(largest.folders)}), but others of the "
            f"folders {names} only one",
            f"{_class_pattern(largest)} if the folders in {name!r} are the classes and the other "
            f"images are none, {_pattern(top, *between, 'class')} if the folders in all of them "
            f"are the classes, or {_pattern(top, 'class')} if {names} are",
            where=where,
        )
    if leaves and n_below > len(leaves):
        largest = max(several, key=lambda folder: len(folder.folders))
        parts = largest.path[len(top.path) :]
        _refuse(
            top,
            f"{'/'.join(parts)!r} holds folders ({_listed(largest.folders)}), but "
            f"{_listed(folder.name for folder in leaves)} images",
            f"{_class_pattern(largest)} if the folders in {largest.name!r} are the classes, "
            f"or {_pattern(top, 'class')} if {names} are",
            where=where,
        )


def _are_shared(n_in: Counter[str], shared: Collection[str]) -> bool:
    """Check whether most folders below have a name that others have too.

    Neither one shared name is a choice of classes (`cat/images`, `dog/images`), nor are dates.
    """
    n_shared = sum(n_in[name] for name in shared)
    return (
        len(n_in) > 1
        and 2 * n_shared >= n_in.total()
        and not all(map(DATE.fullmatch, shared))
        and (len(shared) > 1 or not all(map(is_data_word, shared)))
    )


def _are_names(folders: Iterable[str]) -> bool:
    """Check whether there are names among those of folders, not only dates and data words."""
    return not all(DATE.fullmatch(name) or is_data_word(name) for name in folders)


def _refuse_side_folders(top: Folder, folders: Sequence[Folder], *, where: str) -> None:
    """Refuse folders such as `docs` and `assets` beside class folders, or beside their folder."""
    aside = sorted(folder.name for folder in folders if is_side_folder(folder.name))
    others = [folder for folder in folders if folder.name not in aside]
    data = [inner for folder in others if len((inner := skip_wrapping(folder)).folders) > 1]
    if aside and (len(others) > 1 or data):
        within = (
            f"{_class_pattern(data[0])} to read only the class folders in {data[0].name!r}, or to "
            if len(data) == 1
            else ""
        )
        raise UncertainFoldersError(
            f"{SETTING}: {_listed(aside)} beside "
            f"{_listed(top.folders.keys() - set(aside))} in {where}{_at(top)} does not "
            f"look like a class, got auto. Remove the folder from the data, or set {SETTING} to "
            f"{within}{_pattern(top, 'class')} if it is a class."
        )


def _at(top: Folder) -> str:
    return f" (in {'/'.join(top.path)})" if top.path else ""


def _refuse(
    top: Folder,
    found: str,
    choices: str,
    *,
    where: str,
    error: type[UserError] = UncertainFoldersError,
) -> NoReturn:
    raise error(f"{SETTING}: {found} in {where}{_at(top)}, got auto. Set it to {choices}.")


def _pattern(top: Folder, *parts: str) -> str:
    wrapping = ["any" if name in KEYWORDS else name for name in top.path]
    if top.split_level is not None:
        wrapping[top.split_level] = "split"
    return "/".join((*wrapping, *parts))


def _class_pattern(folder: Folder) -> str:
    """Describe the class folders in a folder, which may be in other folders and splits."""
    inner = folder
    if len(folder.folders) == 1:
        [only] = folder.folders.values()
        inner = skip_wrapping(only) if only.folders else folder
    return _pattern(inner, *(("split",) if official_splits(inner.folders) else ()), "class")


def _listed(names: Iterable[str]) -> str:
    ordered = names if isinstance(names, list) else sorted(names)
    return list_names(list(map(printable, ordered)), max_names=NAMES_SHOWN)
