"""Measure how much a late split lies, and what copies made before training and draws in it give."""

import shutil
from pathlib import Path

from classifold.data.json_file import write_json
from classifold.data.split_file import read_groups
from classifold.leakage.arms import (
    BOTH,
    LATE,
    NONE,
    OFFLINE,
    ONLINE,
    make_arms,
    steady,
    tell_arms,
    train_arm,
)
from classifold.leakage.picture import draw_arms
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.training.checkpoints import training_key
from classifold.training.folds import assign_folds
from classifold.training.out_of_memory import explain_out_of_memory
from classifold.training.setup import prepare

STUDY = Path("studies/warnings")
PACKS = Path("data/augmented")
KEPT = Path(".cache/warnings")  # outside of the outputs, which DVC removes

NOT_OF_COPIES = ("size", "resize", "storage")  # settings of `augment` that make no copy

PANELS = {
    "The same network and images: when they were split": {
        OFFLINE: "before augmentation",
        LATE: "after augmentation",
    },
    "Split before: how they were augmented, in as many steps": {
        arm: arm for arm in (NONE, OFFLINE, ONLINE, BOTH)
    },
}


def main() -> None:
    study = read_params("train_arms", path=STUDY / "params.yaml")
    settings, augment, model = read_params("train", "augment", f"models.{study['model']}")
    model = steady(model, epochs=study["epochs"])
    augmentation = {name: augment[name] for name in augment if name not in NOT_OF_COPIES}
    network, train, clean, recipe, machine, precision = prepare(settings, model, packs=PACKS)
    pool = train.originals()
    groups = read_groups(Path("data/split/train.csv"))
    folds = assign_folds(pool, groups, n_folds=study["folds"], seed=study["seed"])
    arms = make_arms(pool, folds == 1, augmentation=augmentation, seed=study["seed"])
    params = {"study": study, "train": settings, "model": model, "augment": augment}
    key = training_key(
        params | {"precision": precision, "folds": folds.tolist()},
        PACKS,
    )
    with explain_out_of_memory(study["model"]):
        right = {
            name: train_arm(
                name,
                arm,
                clean,
                network=network,
                recipe=recipe,
                machine=machine,
                seeds=study["seeds"],
                checkpoints=KEPT,
                key=key,
            )
            for name, arm in arms.items()
        }

    told = tell_arms(right, arms, clean, **study["bootstrap"])
    with new_folder(STUDY / "made") as folder:
        draw_arms(folder / "arms.png", told, PANELS, n_clean=len(clean.labels))
    write_json(
        STUDY / "metrics/train_arms.json",
        {"n_pool": len(pool.labels), "n_clean": len(clean.labels), "arms": told},
    )
    shutil.rmtree(KEPT, ignore_errors=True)
    for name, arm in told.items():
        log(f"  {name}: flattered by {arm['flattered']:+.4f} {arm['flattered_ci95']}")


if __name__ == "__main__":
    run_stage(main)
