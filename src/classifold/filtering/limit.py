"""A short form of the data: a few images of each class."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from classifold.data.image_table import UNLABELLED
from classifold.data.seeding import generator
from classifold.filtering.selection import Candidate, Excluded, Selection

# Stands for the absence of labels among the labels; no class has this name.
NO_LABEL = ""


def keep_few(selection: Selection, *, images_per_class: int | None, seed: int) -> Selection:
    """Leave out what is beyond so many images of a class in each official part.

    Groups that must stay together are drawn, those of the rarest class first, until the class has
    enough. So a class has fewer images only if there are no more; it has more where a group is
    large, or where its label comes together with rarer ones. Of an official test part, too, no
    more are kept: its score is then that of a short form. Images that wait for a label all stay.

    Args:
        selection: of all images.
        images_per_class: how many to keep; None keeps all.
        seed: of the draw. What is drawn with a smaller number is drawn with a larger one too, where
            images bear one label.

    Returns:
        The selection, those beyond the limit excluded for the reason `limit`.
    """
    if images_per_class is None:
        return selection
    by_part: dict[str | None, list[Candidate]] = defaultdict(list)
    for image in selection.kept:
        by_part[image.split].append(image)
    drawn = {
        image_id
        for split, images in by_part.items()
        for image_id in _draw(images, split, selection.groups, images_per_class, seed)
    }
    beyond = [image for image in selection.kept if image.id not in drawn]
    measured = f"{images_per_class} images a class"
    return selection._replace(
        kept=[image for image in selection.kept if image.id in drawn],
        excluded=[*selection.excluded, *(Excluded(image, "limit", measured) for image in beyond)],
        copies=[
            copy._replace(kept=copy.kept and copy.image.id in drawn) for copy in selection.copies
        ],
        groups={name: group for name, group in selection.groups.items() if name in drawn},
    )


def _draw(
    images: Sequence[Candidate],
    split: str | None,
    groups: Mapping[str, str],
    images_per_class: int,
    seed: int,
) -> set[str]:
    """Draw images of one part; returns their ids."""
    if split == UNLABELLED:
        return {image.id for image in images}
    members: dict[str, list[Candidate]] = defaultdict(list)
    for image in images:
        members[groups.get(image.id, image.id)].append(image)
    borne = {
        group: Counter(label for image in of_group for label in image.labels or (NO_LABEL,))
        for group, of_group in members.items()
    }
    bearers: dict[str, list[str]] = defaultdict(list)
    for group in sorted(borne):
        for label in borne[group]:
            bearers[label].append(group)
    n_images = {label: sum(borne[group][label] for group in bearers[label]) for label in bearers}

    drawn: set[str] = set()
    kept: Counter[str] = Counter()
    for label in sorted(bearers, key=lambda name: (n_images[name], name)):
        waiting = bearers[label]
        generator(seed, "limit", split or "", label).shuffle(waiting)
        for group in waiting:
            if kept[label] >= images_per_class:
                break
            if group not in drawn:
                drawn.add(group)
                kept.update(borne[group])
    return {image.id for group in drawn for image in members[group]}
