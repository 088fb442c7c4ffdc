"""Stage `stack`: fit an ensemble on logits for images that no member was trained on."""

from pathlib import Path

from classifold.data.json_file import read_json, write_json
from classifold.data.predictions import STACK
from classifold.data.split_file import read_groups
from classifold.evaluation.label_errors import find_label_errors
from classifold.evaluation.stack_scores import describe_ensemble, log_scores, stack_metrics
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage
from classifold.stacking.comparison import CALIBRATION
from classifold.stacking.ensemble import save_ensemble
from classifold.stacking.held_out_labels import of_probes, of_stack
from classifold.stacking.member_logits import read_member_logits
from classifold.stacking.stack import fit_stack

COMPARED, SPLIT, FOLDS = Path("data/compared"), Path("data/split"), Path("data/folds")


def main() -> None:
    settings, evaluate = read_params("stack", "evaluate")
    n_folds, method = settings["folds"], settings["method"]
    decisions = read_json(COMPARED / "decisions.json")
    members = decisions["models"] if settings["members"] == "all" else settings["members"]
    validation = read_member_logits({name: COMPARED / f"{name}.npz" for name in members})
    groups, train = read_groups(SPLIT / "validation.csv"), None
    if n_folds:
        train = read_member_logits({name: FOLDS / name / "logits.npz" for name in members})
        groups |= read_groups(SPLIT / "train.csv")
    calibration = None
    if (folder := COMPARED / CALIBRATION).is_dir():
        calibration = read_member_logits({name: folder / f"{name}.npz" for name in members})
    stack = fit_stack(
        validation, train, calibration, groups=groups, settings=settings, evaluate=evaluate
    )
    metrics = describe_ensemble(stack.ensemble, method=method, n_folds=n_folds) | stack_metrics(
        validation.logits, stack.logits, validation.labels, folds=stack.folds
    )
    held_out = of_probes(COMPARED, decisions)
    if train is not None:
        held_out = of_stack(stack, train, name=STACK, task=decisions["task"])

    with new_folder(Path("ensemble")) as folder:
        save_ensemble(folder, stack.ensemble)
        write_json(folder / "decision.json", stack.decision)
        if held_out:
            path = folder / "label_errors.csv"
            metrics["label_errors"] = find_label_errors(path, held_out, decisions["classes"])
    write_json(Path("metrics/stack.json"), metrics)
    log_scores(metrics)


if __name__ == "__main__":
    run_stage(main)
