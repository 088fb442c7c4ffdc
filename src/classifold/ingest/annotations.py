"""Read the layout `annotations`: a folder of images, and one list of image numbers per label.

`images/im17.jpg` has the label `dog` if the file `annotations/dog.txt` lists 17.
"""

import re
from collections import defaultdict

from classifold.data.image_table import UNLABELED
from classifold.errors import UserError
from classifold.ingest.entries import NotRead
from classifold.ingest.files import Files
from classifold.ingest.layout import Source, SourceImage
from classifold.ingest.split_names import is_unlabeled
from classifold.ingest.tree import Tree, read_listed

MAX_DIGITS = 18


def is_annotations(tree: Tree, files: Files) -> bool:
    """Check whether there are lists, all of them in one folder."""
    return len({name.rpartition("/")[0] for name in _read_lists(tree, files)}) == 1


def read_annotations(tree: Tree, files: Files, *, task: str, where: str) -> Source:
    """Find the images, and their labels by the lists that contain their numbers.

    An image's number is the last run of digits in its name. Images in a folder named
    `unlabelled` have no label. An image on no list is, in `multi`, labeled with no label; in
    `single`, unlabeled.

    Args:
        tree: where the files are.
        files: the files of the tree.
        task: `single` or `multi`.
        where: name of the source in messages.

    Raises:
        UserError: if there are no lists, or two images have one number.
    """
    lists = _read_lists(tree, files)
    if not lists:
        raise UserError(
            f"dataset.layout: {where} has no text file of image numbers, one per line, got "
            "annotations. Correct the layout; auto detects it."
        )
    names = files.images
    unlabeled = {name for name in names if any(map(is_unlabeled, name.split("/")[:-1]))}
    numbered: dict[int, str] = {}
    for name in names:
        number = _number(name)
        if name in unlabeled or number is None:
            continue
        if number in numbered:
            raise UserError(
                f"dataset.path: {numbered[number]!r} and {name!r} of {where} have the same number "
                f"{number}, so that the lists of labels cannot distinguish them. Rename one."
            )
        numbered[number] = name

    labels: dict[str, list[str]] = defaultdict(list)
    missing: list[NotRead] = []
    for name, numbers in lists.items():
        label = name.rpartition("/")[2].removesuffix(".txt")
        for number in sorted(numbers):
            if number in numbered:
                labels[numbered[number]].append(label)
            else:
                missing.append(NotRead(str(number), f"{name} lists it, but there is no such image"))

    def describe(name: str) -> SourceImage:
        of_image = tuple(labels.get(name, ()))
        if name in unlabeled or (task == "single" and not of_image):
            return SourceImage(name, (), UNLABELED)
        return SourceImage(name, of_image)

    images = [describe(name) for name in names]
    n_without_label = sum(not image.labels and image.split is None for image in images)
    remarks = [f"{len(lists)} lists of image numbers, one per label"]
    if n_without_label:
        remarks.append(f"{n_without_label:,} images are on no list: they have no label")
    return Source("annotations", images, missing, remarks, list(lists))


def _read_lists(tree: Tree, files: Files) -> dict[str, set[int]]:
    """Read the text files that contain nothing but numbers."""
    lists = {}
    for name in files.named(".txt"):
        words = read_listed(tree, name).split()
        if words and all(word.isdigit() and len(word) <= MAX_DIGITS for word in words):
            lists[name] = {int(word) for word in words}
    return lists


def _number(name: str) -> int | None:
    digits = re.findall(r"[0-9]{1,18}", name.rpartition("/")[2].rpartition(".")[0])
    return int(digits[-1]) if digits else None
