"""Stage `stack`: fit an ensemble on logits for images that no member was trained on."""

from pathlib import Path

import torch

from classifold.data.json_file import read_json, write_json
from classifold.data.split_file import read_groups
from classifold.evaluation.label_errors import label_errors, write_label_errors
from classifold.evaluation.stack_scores import describe_ensemble, log_scores, stack_metrics
from classifold.models.decisions import fit_decision, probabilities
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage
from classifold.stacking.cross_fitting import cross_fit
from classifold.stacking.ensemble import ensemble_logits, save_ensemble
from classifold.stacking.member_logits import assign_folds, read_member_logits

MAX_LABEL_ERRORS = 1000


def main() -> None:
    settings = read_params("stack")
    compared, split, folder_of_folds = map(Path, ("data/compared", "data/split", "data/folds"))
    decisions = read_json(compared / "decisions.json")
    listed = list(decisions["models"])
    members = listed if settings["members"] == "all" else settings["members"]
    folding = {"n_folds": settings["inner_folds"], "seed": settings["seed"]}
    fit = {"method": settings["method"], "settings": settings, "seed": settings["seed"]}
    # Dense layers this small are slower on two threads, and one keeps weights reproducible.
    torch.set_num_threads(1)

    validation = read_member_logits({name: compared / f"{name}.npz" for name in members})
    folds = assign_folds(validation, read_groups(split / "validation.csv"), **folding)
    if settings["folds"]:
        train = read_member_logits(
            {name: folder_of_folds / name / "logits.npz" for name in members}
        )
        train_folds = assign_folds(train, read_groups(split / "train.csv"), **folding)
        fitted = cross_fit(train.logits, train.labels, folds=train_folds, **fit)
        logits = ensemble_logits(fitted.ensemble, validation.logits)
    else:
        fitted = cross_fit(validation.logits, validation.labels, folds=folds, **fit)
        logits = fitted.logits
    decision = fit_decision(logits, validation.labels)

    with new_folder(Path("ensemble")) as folder:
        save_ensemble(folder, fitted.ensemble)
        write_json(folder / "decision.json", decision)
        if settings["folds"]:
            calibrated = probabilities(
                fitted.logits, temperature=decision["temperature"], task=decisions["task"]
            )
            rows = label_errors(
                calibrated,
                train.labels,
                ids=train.ids,
                classes=decisions["classes"],
                max_rows=MAX_LABEL_ERRORS,
            )
            write_label_errors(folder / "label_errors.csv", rows)
    metrics = describe_ensemble(fitted.ensemble, n_folds=settings["folds"]) | stack_metrics(
        validation.logits, logits, validation.labels, folds=folds, seed=settings["seed"]
    )
    write_json(Path("metrics/stack.json"), metrics)
    log_scores(metrics)


if __name__ == "__main__":
    run_stage(main)
