"""Train one network on the same images, split and augmented in different ways (study arms).

Source: two warnings of report 002. Section 3.2: if images are split after augmentation, variants
of validation images are among the training images. Section 3.1: variants that are made once,
before training, gave better scores than on-the-fly augmentation.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from classifold.augmentation.offline import make_variants
from classifold.data.pack import Pack
from classifold.errors import UserError
from classifold.training.limit import cap_epochs

LATE = "split after augmentation"


NONE, ONLINE, OFFLINE, BOTH = "none", "online", "offline", "both"


class Arm(NamedTuple):
    """The training images, the validation images that select the epoch, and the policy."""

    train: Pack
    validation: Pack
    policy: Mapping[str, Any]


def make_arms(
    pool: Pack, held_out: np.ndarray, *, augmentation: Mapping[str, Any], seed: int
) -> dict[str, Arm]:
    """Make five arms with the same number of training steps from the same images.

    Four are split before augmentation. Their validation images are originals, of which no variant
    is trained on. They train on originals alone (repeated, to the number of variants), on originals
    with an on-the-fly policy of the same transformations, on variants, or on variants with the
    policy. The fifth is augmented first and then split by class, without grouping the variants of
    an image: as many images train, and variants of many of them validate.

    Args:
        pool: originals, with one label each.
        held_out: bool array (N,): the validation images of a split before augmentation.
        augmentation: arguments of `make_variants` except the image.
        seed: seed of the split after augmentation.

    Raises:
        UserError: if images have several labels, or if `augment` makes no variants.
    """
    if pool.task != "single":
        raise UserError("dataset.task: must be single for this study, got multi.")
    everything = with_variants(pool, augmentation)
    n_variants = len(everything.labels) // len(pool.labels)
    if n_variants < 2:
        raise UserError(
            "augment: makes no variants, so there is nothing to split after augmentation. Set "
            "augment.flips to [none, horizontal] or augment.warped to 1."
        )
    plain = {"fill": augmentation["fill"], "steps": []}
    policy = equivalent_policy(augmentation)
    train, validation = (pool.subset(np.flatnonzero(rows)) for rows in (~held_out, held_out))
    repeated = train.subset(np.tile(np.arange(len(train.labels)), n_variants))
    variants = everything.subset(np.flatnonzero(np.repeat(~held_out, n_variants)))
    late_train, late_validation = train_test_split(
        np.arange(len(everything.labels)),
        test_size=int(held_out.sum()) * n_variants,
        random_state=seed,
        stratify=everything.labels,
    )
    return {
        NONE: Arm(repeated, validation, plain),
        ONLINE: Arm(repeated, validation, policy),
        OFFLINE: Arm(variants, validation, plain),
        BOTH: Arm(variants, validation, policy),
        LATE: Arm(everything.subset(late_train), everything.subset(late_validation), plain),
    }


def with_variants(pack: Pack, augmentation: Mapping[str, Any]) -> Pack:
    """Make the variants that the stage `augment` makes, in memory, those of an image together."""
    made = [
        make_variants(np.asarray(pack.images[row]), image_id=image_id, **augmentation)
        for row, image_id in enumerate(pack.ids)
    ]
    n_variants = len(made[0])
    return pack.subset(np.repeat(np.arange(len(made)), n_variants))._replace(
        images=np.stack([one.pixels for variants in made for one in variants]),
        variants=np.tile(np.arange(n_variants, dtype=np.int32), len(made)),
        transformations=[one.transformation for variants in made for one in variants],
    )


def equivalent_policy(augmentation: Mapping[str, Any]) -> dict[str, Any]:
    """Make an on-the-fly policy of the same flips and ranges of warps."""
    flips = set(augmentation["flips"]) - {"none"}
    steps: list[dict[str, Any]] = []
    if flips:
        steps.append({"flip": flips.pop() if len(flips) == 1 else "both"})
    if augmentation["warped"]:
        steps += [{"rotate": augmentation["rotate"]}, {"scale": augmentation["scale"]}]
        steps += [
            {key: augmentation[key]} for key in ("shear", "shift") if np.any(augmentation[key])
        ]
    return {"fill": augmentation["fill"], "steps": steps}


def without_early_stopping(model: Mapping[str, Any], *, epochs: int) -> dict[str, Any]:
    """Change a model in params to run all its epochs, at most `epochs` per phase.

    The number of steps is then the same in all arms.

    Raises:
        UserError: if the model has no phases.
    """
    if "phases" not in model:
        raise UserError(
            f"train_arms.model: must be trained in phases, got a model of network "
            f"{model['network']}, which does not augment images on the fly. Choose another model."
        )
    capped = cap_epochs(model, epochs=epochs)
    phases = {
        name: {**phase, "stop": {**(phase.get("stop") or {}), "patience": None}}
        for name, phase in capped["phases"].items()
    }
    return {**capped, "phases": phases}
