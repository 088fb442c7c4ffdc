"""Read folders as `dataset.folders` describes them, such as `any/class`.

It has one word per level of folders, from `dataset.path` down. The words `class`, `split` and
`group` state what the folders of a level are, `any` that they mean nothing. Any other word is the
name of the only folder of its level that is read.
"""

from collections.abc import Sequence

from classifold.data.image_table import TEST, UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import composed
from classifold.ingest.folder_tree import NO_LABEL, Folder, Levels, Path, Place
from classifold.ingest.split_names import TRAIN, is_unlabeled, split_name

AUTO = "auto"
CLASS, SPLIT, GROUP, ANY = KEYWORDS = ("class", "split", "group", "any")

NAMES_SHOWN = 5


def match_pattern(root: Folder, text: str, *, where: str) -> Levels:
    """Read the folders as a pattern describes them; those that do not match it are ignored.

    Args:
        root: the folders with images.
        text: the pattern, valid by the schema of params.
        where: name of the source in messages.

    Raises:
        UserError: if no folder matches.
    """
    pattern = text.split("/")
    levels = Levels({}, set(), {}, {})
    for folder in root.walk():
        if not folder.n_images:
            continue
        place = _match(folder.path, pattern)
        if isinstance(place, str):
            levels.ignored[folder.path] = place
            continue
        levels.places[folder.path] = place
        if place.label is not None:
            levels.parents.add(folder.path[: pattern.index(CLASS)])
        if SPLIT in pattern and place.split and len(folder.path) > pattern.index(SPLIT):
            levels.splits[folder.path[pattern.index(SPLIT)]] = place.split
    _refuse_unknown_splits(levels, text=text, where=where)
    if not any(place.label is not None for place in levels.places.values()):
        example = next(iter(levels.ignored), ())
        in_capitals = any(part not in KEYWORDS and part.lower() in KEYWORDS for part in pattern)
        remedy = f"Write {', '.join(KEYWORDS)} in lower case" if in_capitals else "Correct it"
        raise UserError(
            f"dataset.folders: must describe folders of {where}, which are such as "
            f"{'/'.join(example) or 'the top folder'!r}, got {text}. {remedy}; auto detects the "
            "levels."
        )
    return levels


def _refuse_unknown_splits(levels: Levels, *, text: str, where: str) -> None:
    """Refuse folders that are not named after splits where there is no train split."""
    unknown = [reason for reason in levels.ignored.values() if reason.endswith(NO_SPLIT)]
    if unknown and TRAIN not in levels.splits.values():
        names = sorted({reason.removesuffix(NO_SPLIT) for reason in unknown})
        raise UserError(
            f"dataset.folders: no folder of {where} is recognized as the train split, and these "
            f"as no split: {', '.join(names[:NAMES_SHOWN])}, got {text}. Rename them to train, "
            "validation and test, or write any or group instead of split."
        )


def _match(path: Path, pattern: Sequence[str]) -> Place | str:
    """Describe the images of a folder, or return the reason to ignore them."""
    label = split = group = None
    for part, name in zip(pattern, path, strict=False):
        if part in KEYWORDS and is_unlabeled(name):
            return NO_LABEL
        match part:
            case "class":
                label = composed(name)
            case "split":
                split = split_name(name).split
                if split is None:
                    return f"{name!r}{NO_SPLIT}"
                if split == UNLABELED:
                    return NO_LABEL
            case "group":
                group = name
            case "any":
                pass
            case _ if composed(name) != composed(part):
                return "in no folder that dataset.folders describes"
    if len(path) >= len(pattern):
        return Place(label, split, group)
    # A test split often has no class folders.
    return NO_LABEL if split == TEST and label is None else TOO_SHALLOW


NO_SPLIT = " is not the name of a split in dataset.folders"
TOO_SHALLOW = "in no class folder that dataset.folders describes"
