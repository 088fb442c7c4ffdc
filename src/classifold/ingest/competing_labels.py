"""Choose between the labels of a table or lists and those of class folders."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from classifold.errors import UserError, list_names
from classifold.ingest.layout import Source, SourceImage
from classifold.ingest.split_names import is_data_word, split_name, words

# Words of folders into which images are only divided, beside numbers and words such as "images".
PORTIONS = frozenset(("part", "parts", "batch", "fold", "chunk", "archive", "volume", "page"))

CLASSES_SHOWN = 5


def choose_labels(by_list: Source, by_folder: Source, *, where: str) -> Source:
    """Return the labels of a table or of lists, unless class folders compete with them.

    They do not if the table has the labels of other images only, of the same classes; nor if it
    has a label for all images in class folders, and the classes correspond one to one to the
    folders, or the folders are only numbered.

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
    classes = {label for labels in labeled.values() for label in labels}
    if listed and not both and {label for labels in listed.values() for label in labels} <= classes:
        images = [
            image if image.labels else other
            for image, other in zip(by_folder.images, by_list.images, strict=True)
        ]
        remarks.append("these labels are added to those of the class folders")
        remarks = [*by_folder.remarks, *remarks]
        # Images in no row have the label of their folder.
        return by_list._replace(images=images, remarks=remarks, n_unlisted=0)
    if len(both) == len(labeled) and _is_one_to_one(both):
        names = {one: other for one, other in both if one != other}
        numbers = all(label.isdigit() for labels in listed.values() for label in labels)
        if numbers and not any(label.isdigit() for _, [label] in both):
            images = [
                image._replace(labels=names.get(image.labels, image.labels))
                for image in by_list.images
            ]
            by_list = by_list._replace(images=images)
        elif names:
            remarks.append("the classes are named as there, not as their folders")
    elif len(both) == len(labeled) and _are_numbered({label for _, [label] in both}):
        remarks.append("the folders of the images are not their classes")
    else:
        shown = list_names(sorted(classes), max_names=CLASSES_SHOWN)
        n_other = sum(one != other for one, other in both)
        used = ", ".join(by_list.used[:CLASSES_SHOWN])
        raise UserError(
            f"dataset.layout: {used} of {where} has labels for {len(both):,} of "
            f"{len(labeled):,} images in class folders ({shown}), {n_other:,} of them other than "
            f"the folder, got auto. Set it to folder for the folders as classes, or to "
            f"{by_list.layout} for the labels of {used}."
        )
    return by_list._replace(images=_with_splits(by_list, by_folder), remarks=remarks)


def n_classes(source: Source) -> int:
    """Count the classes."""
    return len({label for image in source.images for label in image.labels})


def lack_labels(by_list: Source, images: Iterable[str], *, uncertain: bool) -> bool:
    """Check whether images without a label in a table or lists seem to be in class folders.

    Args:
        by_list: the images with the labels of tables or lists.
        images: images of the source.
        uncertain: whether there are folders that may be classes, whatever their names are.
    """
    labeled = _labels(by_list.images)
    folders = {name.rpartition("/")[0] for name in images if name not in labeled}
    if uncertain:
        return bool(folders)
    return len({folder for folder in folders if _may_be_class(folder)}) > 1


def _may_be_class(folder: str) -> bool:
    parts = [part for part in folder.split("/") if part]
    return bool(parts) and not (
        any(split_name(part).split for part in parts) or _are_numbered(parts[-1:])
    )


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
