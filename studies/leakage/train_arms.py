"""Measure the bias of a split after augmentation, and the gains of two kinds of augmentation."""

import shutil
from pathlib import Path

from classifold.data.json_file import write_json
from classifold.leakage.arms import (
    BOTH,
    LATE,
    NONE,
    OFFLINE,
    ONLINE,
    make_arms,
    without_early_stopping,
)
from classifold.leakage.comparison import compare_arms
from classifold.leakage.figure import draw_arms
from classifold.leakage.training import train_arm
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage
from classifold.training.checkpoints import training_key
from classifold.training.folds import assign_folds
from classifold.training.model_errors import explain_errors_of
from classifold.training.setup import prepare

STUDY = Path("studies/leakage")
PACKS = Path("data/augmented")
KEPT = Path(".cache/leakage")  # not among the outputs, which DVC removes before a stage

NOT_OF_VARIANTS = ("size", "resize", "storage")  # settings of `augment`

PANELS = {
    "The same network and images, split": {
        OFFLINE: "before augmentation",
        LATE: "after augmentation",
    },
    "Split before augmentation: kinds of augmentation, equal steps": {
        arm: arm for arm in (NONE, OFFLINE, ONLINE, BOTH)
    },
}


def main() -> None:
    study = read_params("train_arms", path=STUDY / "params.yaml")
    settings, augment, model = read_params("train", "augment", f"models.{study['model']}")
    model = without_early_stopping(model, epochs=study["epochs"])
    augmentation = {name: augment[name] for name in augment if name not in NOT_OF_VARIANTS}
    training = prepare(settings, model, packs=PACKS)
    pool, clean = training.train.originals(), training.validation
    folds = assign_folds(
        pool, n_folds=study["folds"], seed=study["seed"], setting="train_arms.folds"
    )
    arms = make_arms(pool, folds == 1, augmentation=augmentation, seed=study["seed"])
    params = {"study": study, "train": settings, "model": model, "augment": augment}
    key = training_key(
        params | {"precision": training.precision, "folds": folds.tolist()},
        PACKS,
    )
    with explain_errors_of(study["model"]):
        correct = {
            name: train_arm(
                name,
                arm,
                clean,
                network=training.network,
                config=training.config,
                machine=training.machine,
                seeds=study["seeds"],
                checkpoints=KEPT,
                key=key,
            )
            for name, arm in arms.items()
        }

    compared = compare_arms(correct, arms, clean)
    with new_folder(STUDY / "made") as folder:
        draw_arms(folder / "arms.png", compared, PANELS, n_clean=len(clean.labels))
    write_json(
        STUDY / "metrics/train_arms.json",
        {"n_pool": len(pool.labels), "n_clean": len(clean.labels), "arms": compared},
    )
    shutil.rmtree(KEPT, ignore_errors=True)
    for name, arm in compared.items():
        log(
            f"  {name}: optimistic bias {arm['optimistic_bias']:+.4f} {arm['optimistic_bias_ci95']}"
        )


if __name__ == "__main__":
    run_stage(main)
