"""Limit the number of images per class, for a short first run."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from classifold.data.image_table import UNLABELED
from classifold.data.seeding import generator
from classifold.filtering.selection import Candidate, Excluded, Selection

# Stands for the absence of labels among the labels; no class has this name.
NO_LABEL = ""


def limit_images(selection: Selection, *, images_per_class: int | None, seed: int) -> Selection:
    """Exclude images beyond a number of images per class, in each official split.

    Groups are sampled, those of the rarest class first, until the class has enough images. So a
    class has fewer images only if there are no more; it has more where a group is large, or where
    its label occurs together with rarer ones. An official test split is limited too: its score is
    then that of a short run. Unlabeled images all stay.

    Args:
        selection: selection of all images.
        images_per_class: number of images to keep; None keeps all.
        seed: seed of the sampling. With one label per image, a larger number keeps all the images
            that a smaller number keeps.

    Returns:
        The selection; images beyond the limit are excluded for the reason `limit`.
    """
    if images_per_class is None:
        return selection
    by_split: dict[str | None, list[Candidate]] = defaultdict(list)
    for image in selection.kept:
        by_split[image.split].append(image)
    chosen = {
        image_id
        for split, images in by_split.items()
        for image_id in _sample(images, split, selection.groups, images_per_class, seed)
    }
    rejected = [image for image in selection.kept if image.id not in chosen]
    measured = f"{images_per_class} images per class"
    return selection._replace(
        kept=[image for image in selection.kept if image.id in chosen],
        excluded=[*selection.excluded, *(Excluded(image, "limit", measured) for image in rejected)],
        duplicates=[
            item._replace(kept=item.kept and item.image.id in chosen)
            for item in selection.duplicates
        ],
        groups={name: group for name, group in selection.groups.items() if name in chosen},
    )


def _sample(
    images: Sequence[Candidate],
    split: str | None,
    groups: Mapping[str, str],
    images_per_class: int,
    seed: int,
) -> set[str]:
    """Sample images of one split; returns their ids."""
    if split == UNLABELED:
        return {image.id for image in images}
    members: dict[str, list[Candidate]] = defaultdict(list)
    for image in images:
        members[groups.get(image.id, image.id)].append(image)
    counts = {
        group: Counter(label for image in of_group for label in image.labels or (NO_LABEL,))
        for group, of_group in members.items()
    }
    groups_of: dict[str, list[str]] = defaultdict(list)
    for group in sorted(counts):
        for label in counts[group]:
            groups_of[label].append(group)
    n_images = {
        label: sum(counts[group][label] for group in groups_of[label]) for label in groups_of
    }

    chosen: set[str] = set()
    kept: Counter[str] = Counter()
    for label in sorted(groups_of, key=lambda name: (n_images[name], name)):
        waiting = groups_of[label]
        generator(seed, "limit", split or "", label).shuffle(waiting)
        for group in waiting:
            if kept[label] >= images_per_class:
                break
            if group not in chosen:
                chosen.add(group)
                kept.update(counts[group])
    return {image.id for group in chosen for image in members[group]}
