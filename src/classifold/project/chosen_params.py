"""Choose the params of a new project for its images, with a reason for each choice."""

import importlib.util
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dvc.utils.serialize import modify_yaml

from classifold.data.model_settings import LOSSES, PROBE, WITHOUT_EPOCHS
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.project.choices import Choice, format_head
from classifold.project.findings import Findings
from classifold.project.presets import (
    MANY_IMAGES,
    SMALL_SIDE,
    TRAIN_FRACTION,
    Machine,
    Preset,
    choose_models,
    choose_recipe,
)
from classifold.project.recipes import read_recipe
from classifold.project.repository import REPOSITORY

MIN_SIDE_FOR_HASHES = 32  # pixels; below, perceptual hashes of different images are alike
LARGEST_GROUP = 0.1  # of the sample; more images that look alike are not duplicates
FEW_IMAGES = 20  # of a class
MAX_VARIANTS = 40_000  # of all training images, for the small networks
MAX_RAW_BYTES = 8 * 2**30  # of a pack
MAX_THREADS = 8

QUICK = Preset()

LEFT_AND_RIGHT = re.compile(r"(^|[^a-z])(left|right)([^a-z]|$)", re.IGNORECASE)


def write_params(
    file: Path,
    path: Path,
    findings: Findings,
    machine: Machine,
    *,
    preset: Preset = QUICK,
    is_installed: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None,
) -> list[Choice]:
    """Write the params for some images.

    Args:
        file: `params.yaml`, which does not exist yet.
        path: path of the images in the project.
        findings: what is known about the images.
        machine: the computer that will train.
        preset: how much is trained.
        is_installed: whether a package with weights is installed.

    Returns:
        The choices, in the order of the sections.

    Raises:
        UserError: if the params are not valid.
    """
    recipe, reason = choose_recipe(findings, machine, preset, is_installed)
    text = (
        (REPOSITORY / PARAMS_FILE).read_text(encoding="utf-8")
        if recipe is None
        else read_recipe(recipe, short=False, root=REPOSITORY)
    )
    body = text[text.index("\ndataset:") + 1 :]  # the comments before it are about other data
    file.write_text(body, encoding="utf-8")
    with modify_yaml(str(file)) as params:  # as DVC writes it: comments and order stay
        choices = [
            *_choose_dataset(params, path, findings),
            *_choose_filter(params, findings),
            *_choose_split(params, findings),
            *choose_models(params, findings, machine, preset, is_installed, reason=reason),
            *_choose_sizes(params, findings),
            *_choose_flips(params, findings),
            *_choose_training(params, findings, machine),
        ]
    head = f"""\
# All tunable parameters, one section per stage. Chosen by "classifold init", preset {preset.name}:
#
"""
    body = file.read_text(encoding="utf-8")
    file.write_text(f"{head}{format_head(choices)}{body}", encoding="utf-8")
    check_params(file)
    return choices


def _choose_dataset(params: Any, path: Path, findings: Findings) -> Iterator[Choice]:
    folders = {"folders": findings.folders} if findings.layout == "folder" else {}
    values = {"path": path.as_posix(), "layout": findings.layout, **folders, "task": findings.task}
    dataset = params["dataset"]
    for key in set(dataset) - set(values):
        del dataset[key]
    for position, key in enumerate(values):
        if key not in dataset:  # at the end, it would be behind the empty line
            dataset.insert(position, key, None)
    dataset.update(values)
    several = sum(count for n, count in findings.labels_per_image.items() if n > 1)
    yield Choice("dataset.layout", findings.layout, "found")
    why = f"{several:,} images have several labels" if several else "no image has several labels"
    yield Choice("dataset.task", findings.task, f"{why}; the loss is {LOSSES[findings.task]}")


def _choose_filter(params: Any, findings: Findings) -> Iterator[Choice]:
    sample = findings.sample
    (width, height), fraction = sample.modal_size
    params["filter"]["size"].update({"rule": "none", "tolerance": 0})
    why = "all images of the sample have one size"
    if fraction < 1:
        why = (
            f"{fraction:.0%} of the sample have {width} x {height} pixels; images of other sizes "
            "are kept, and resized"
        )
    yield Choice("filter.size.rule", "none", why)
    duplicates = params["filter"]["duplicates"]
    if sample.median_side < MIN_SIDE_FOR_HASHES:
        near = "off"
        why = f"images of {sample.median_side} pixels are too small for perceptual hashes"
    elif sample.largest_group > LARGEST_GROUP * sample.n_images:
        near = "off"
        why = (
            f"{sample.largest_group:,} of {sample.n_images:,} images look alike, too many to be "
            "duplicates; set group with a smaller distance if they are frames of one video"
        )
    else:
        near = "group"
        why = "the sample has no near duplicates"
        if sample.n_near:
            why = (
                f"{sample.n_near:,} images of the sample have near duplicates; they stay in one "
                "split"
            )
    duplicates["near"] = near
    yield Choice("filter.duplicates.near", near, why)


def _choose_split(params: Any, findings: Findings) -> Iterator[Choice]:
    if findings.images_per_split["test"]:
        why = f"the official test split of {findings.images_per_split['test']:,} images is kept"
    else:
        held_out = 0.1 if findings.n_labeled >= MANY_IMAGES else 0.15
        fractions = {"train": 1 - 2 * held_out, "validation": held_out, "test": held_out}
        params["split"]["fractions"].update(fractions)
        why = f"of {findings.n_labeled:,} labeled images"
    rare = [name for name, count in findings.images_per_class.items() if count < FEW_IMAGES]
    if rare:
        why += f"; {len(rare):,} classes have fewer than {FEW_IMAGES} images: expect wide intervals"
    fractions = params["split"]["fractions"]
    yield Choice("split.fractions", ", ".join(f"{k} {v}" for k, v in fractions.items()), why)


def _choose_sizes(params: Any, findings: Findings) -> Iterator[Choice]:
    side = findings.sample.median_side
    augment, models = params["augment"], params["models"].values()
    kept = augment["size"]
    if any(model["network"] == PROBE for model in models):
        used = max(model["image_size"] for model in models)
        size = min(math.ceil(side / 32) * 32, used)
        does = "enlarge to" if size < used else "use at most"
        why = f"the median of the shorter side is {side}; the networks {does} {used}"
    elif side < SMALL_SIDE:
        size = 32 if side <= 32 else SMALL_SIDE
        why = f"the median of the shorter side is {side}"
    elif side < kept:
        size = max(round(side / 16) * 16, SMALL_SIDE)
        for model in [model for model in models if "phases" in model]:
            for key in ("image_size", "train_size"):
                model.pop(key, None)
        why = f"the median of the shorter side is {side}"
    else:
        size, why = kept, "that of the recipe"
    augment["size"] = size
    yield Choice("augment.size", str(size), why)


def _choose_flips(params: Any, findings: Findings) -> Iterator[Choice]:
    """Choose mirrored variants, in the pack and on the fly."""
    gray = findings.sample.conversions["grayscale"] / findings.sample.n_images
    names = findings.images_per_class
    if all(len(name) == 1 for name in names):
        mirrored, why = False, "classes with names of one character may be characters"
    elif any(map(LEFT_AND_RIGHT.search, names)):
        mirrored, why = False, "class names have left or right"
    elif findings.sample.median_side < SMALL_SIDE and gray > 0.5:
        mirrored, why = False, "small grayscale images may be characters"
    else:
        mirrored, why = True, "photos may be mirrored; not upside down"
    augment, models = params["augment"], params["models"].values()
    for model in models:
        steps = params["policies"][model["online"]]["steps"]
        for step in [step for step in steps if "flip" in step]:
            step["flip"] = "horizontal"
            if not mirrored:
                steps.remove(step)
        if model["network"] == "fisher_vectors" and not mirrored:
            model["arguments"]["mirrored"] = False
    on_the_fly = any(params["policies"][model["online"]]["steps"] for model in models)
    if any(model["network"] in WITHOUT_EPOCHS for model in models):
        why = "features are computed of each image once"
        if mirrored and on_the_fly:
            why += "; networks that are trained by epochs get mirrored images on the fly"
        yield Choice("augment.flips", "none", why)
        return
    in_pack = mirrored and augment["warped"] > 0
    augment["flips"][:] = ["none", "horizontal"] if in_pack else ["none"]
    flips = (
        ", ".join(augment["flips"]) if in_pack or not (mirrored and on_the_fly) else "on the fly"
    )
    yield Choice("augment.flips", flips, why)


def _choose_training(params: Any, findings: Findings, machine: Machine) -> Iterator[Choice]:
    augment = params["augment"]
    n_train = max(1, round(findings.n_labeled * TRAIN_FRACTION))
    if augment["warped"]:
        most = MAX_VARIANTS // (n_train * len(augment["flips"])) - 1
        augment["warped"] = min(augment["warped"], max(most, 0))
        variants = len(augment["flips"]) * (1 + augment["warped"])
        yield Choice(
            "augment.warped",
            str(augment["warped"]),
            f"{variants} variants of each of about {n_train:,} training images",
        )
    n_bytes = n_train * len(augment["flips"]) * (1 + augment["warped"]) * augment["size"] ** 2 * 3
    if n_bytes > MAX_RAW_BYTES:
        augment["storage"] = "jpeg"
        yield Choice("augment.storage", "jpeg", f"raw would take {n_bytes / 2**30:.0f} GiB")
    params["train"]["threads"] = min(machine.n_cores, MAX_THREADS)
    why = f"this machine has {machine}; the number of threads changes the weights slightly"
    yield Choice("train.threads", str(params["train"]["threads"]), why)
