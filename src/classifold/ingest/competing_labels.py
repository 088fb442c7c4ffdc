"""Choose between the labels of a table or lists and those of class folders."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from classifold.errors import UserError
from classifold.ingest.layout import Source, SourceImage
from classifold.ingest.split_names import is_data_word, words

# Words of folders into which images are only divided, beside numbers and words such as "images".
PORTIONS = frozenset(("part", "parts", "batch", "fold", "chunk", "archive", "volume", "page"))

CLASSES_SHOWN = 5


def choose_labels(by_list: Source, by_folder: Source, *, where: str) -> Source:
    """Return the labels of a table or of lists, unless class folders compete with them.

    They do not if all labeled images have a label in the table, and the classes correspond one to
    one to the folders, or the folders are only numbered.

    Args:
        by_list: the images with the labels of tables or lists.
        by_folder: the same images with their folders as labels.
        where: name of the source in messages.

    Raises:
        UserError: if they compete.
    """
    listed = _labels(by_list.images)
    labeled = _labels(by_folder.images)
    both = [(listed[name], labels) for name, labels in labeled.items() if name in listed]
    remarks = list(by_list.remarks)
    if len(both) == len(labeled) and _is_one_to_one(both):
        if any(one != other for one, other in both):
            remarks.append("the classes are named as there, not as their folders")
    elif len(both) == len(labeled) and _are_numbered({label for _, [label] in both}):
        remarks.append("the folders of the images are not their classes")
    else:
        classes = sorted({label for [label] in labeled.values()})
        more = len(classes) - CLASSES_SHOWN
        shown = ", ".join(classes[:CLASSES_SHOWN]) + (f" and {more:,} others" if more > 0 else "")
        n_other = sum(one != other for one, other in both)
        raise UserError(
            f"dataset.layout: {', '.join(by_list.used)} of {where} has labels for {len(both):,} of "
            f"{len(labeled):,} images in class folders ({shown}), {n_other:,} of them other than "
            f"the folder, got auto. Set it to folder for the folders as classes, or to "
            f"{by_list.layout} for the labels of {', '.join(by_list.used)}."
        )
    return by_list._replace(images=_with_splits(by_list, by_folder), remarks=remarks)


def n_classes(source: Source) -> int:
    """Count the classes."""
    return len({label for image in source.images for label in image.labels})


def covers(source: Source, images: Iterable[str]) -> bool:
    """Check whether all images have a label."""
    return _labels(source.images).keys() >= set(images)


def _labels(images: Sequence[SourceImage]) -> dict[str, tuple[str, ...]]:
    return {image.id: image.labels for image in images if image.labels}


def _is_one_to_one(pairs: Iterable[tuple[tuple[str, ...], tuple[str, ...]]]) -> bool:
    forward, backward = defaultdict(set), defaultdict(set)
    for one, other in pairs:
        forward[one].add(other)
        backward[other].add(one)
    return all(len(found) == 1 for found in (*forward.values(), *backward.values()))


def _are_numbered(folders: Iterable[str]) -> bool:
    """Check whether folders only divide the images, such as `part_1` and `part_2`."""
    kinds = {tuple(word for word in words(folder) if not word.isdigit()) for folder in folders}
    return len(kinds) == 1 and any(
        word in PORTIONS or is_data_word(word) for kind in kinds for word in kind
    )


def _with_splits(by_list: Source, by_folder: Source) -> list[SourceImage]:
    """Add the official splits of folders, if the table has none."""
    held_out = {"train", "validation", "test"}
    if any(image.split in held_out for image in by_list.images):
        return by_list.images
    splits = {image.id: image.split for image in by_folder.images if image.split in held_out}
    return [image._replace(split=splits.get(image.id, image.split)) for image in by_list.images]
