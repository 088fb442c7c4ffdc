"""Section "Augmentation": variants stored before training, and policies applied during it."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from classifold.data.pack import Pack, read_pack
from classifold.pictures.examples import shorten
from classifold.reporting.augmentations import augmented_pictures, format_steps
from classifold.reporting.facts import Facts
from classifold.reporting.pictures import MAX_CHARACTERS, Picture, pixels_to_uri

N_AUGMENTED_EXAMPLES = 3
N_POLICY_EXAMPLES = 6
MAX_VARIANTS = 48  # per example


def augmentation_section(facts: Facts) -> dict[str, Any]:
    """Collect what the template of this section shows."""
    pack = read_pack(facts.folders.augmented)
    rows = _example_rows(pack, N_AUGMENTED_EXAMPLES)
    return {
        "augmented": [list(_variants_of(pack, row)) for row in rows],
        "policies": _policies(facts, pack),
        "MAX_VARIANTS": MAX_VARIANTS,
    }


def _policies(facts: Facts, pack: Pack) -> list[dict[str, Any]]:
    """Apply each policy to a few images, and list the models that are trained with it."""
    rows = _example_rows(pack, N_POLICY_EXAMPLES)
    images = np.asarray(pack.images[rows])
    names = [shorten(pack.ids[row], MAX_CHARACTERS) for row in rows]
    return [
        {
            "name": name,
            "steps": format_steps(policy),
            "models": [
                model for model, of in facts.params["models"].items() if of["online"] == name
            ],
            "pictures": augmented_pictures(images, policy, names=names, seed=1, epoch=1),
        }
        for name, policy in facts.params["policies"].items()
    ]


def _example_rows(pack: Pack, n_wanted: int) -> list[int]:
    """Choose originals of as many classes as possible, evenly spaced in the order of classes."""
    originals = np.flatnonzero(pack.variants == 0)
    first = _first_row_per_class(pack.labels[originals])
    spaced = np.linspace(0, len(first) - 1, n_wanted).astype(int)
    rows = list(dict.fromkeys(int(originals[first[i]]) for i in spaced))
    # With fewer classes than examples, some classes have more than one example.
    others = (int(row) for row in originals if int(row) not in rows)
    return [*rows, *islice(others, n_wanted - len(rows))]


def _first_row_per_class(labels: np.ndarray) -> list[int]:
    """Find the first image of each class; labels are (N,), or 0 and 1 in (N, n_classes)."""
    if labels.ndim == 1:
        return np.unique(labels, return_index=True)[1].tolist()
    return [int(np.argmax(positive)) for positive in labels.T if positive.any()]


def _labels_of(pack: Pack, row: int) -> str:
    label = pack.labels[row]
    if pack.task == "single":
        return pack.classes[label]
    names = [name for name, positive in zip(pack.classes, label, strict=True) if positive]
    return ", ".join(names) or "no label"


def _variants_of(pack: Pack, original: int) -> Iterator[Picture]:
    """Show an original and its variants, which are the rows up to the next original."""
    for row in range(original, min(original + MAX_VARIANTS, len(pack.labels))):
        if row > original and pack.variants[row] == 0:
            return
        name, transformation = pack.ids[row], pack.transformations[row]
        title = name if row == original else f"variant {pack.variants[row]}"
        description = "original" if row == original else transformation
        alt = f"{name}, labeled {_labels_of(pack, row)}: {description}"
        yield Picture(pixels_to_uri(np.asarray(pack.images[row])), alt, [title, description])
