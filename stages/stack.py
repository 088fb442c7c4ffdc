"""Stage `stack`: fit an ensemble on answers to images that no member was trained on."""

from pathlib import Path

from classifold.decisions import fit_decision
from classifold.device import set_threads
from classifold.folders import new_folder
from classifold.logits_file import load_logits
from classifold.metrics_file import read_json, write_json
from classifold.params import read_params
from classifold.splitting.folds import share_out_folds
from classifold.splitting.part_file import read_groups
from classifold.stacking.cross_fitting import cross_fit
from classifold.stacking.ensemble import save_ensemble
from classifold.stacking.report import describe, stack_metrics, tell
from classifold.stage import run_stage


def main() -> None:
    settings = read_params("stack")
    compared = Path("data/compared")
    listed = list(read_json(compared / "decisions.json")["models"])
    members = listed if settings["members"] == "all" else settings["members"]
    parts = {name: load_logits(compared / f"{name}.npz") for name in members}
    logits = {name: part.logits for name, part in parts.items()}
    ids, labels, _ = parts[members[0]]
    groups = read_groups(Path("data/split/validation.csv"))
    seed = settings["seed"]
    folds = share_out_folds(
        labels, [groups[i] for i in ids], n_folds=settings["inner_folds"], seed=seed
    )
    set_threads(1)  # dense layers this small are slower on two, and weights then never differ

    fitted = cross_fit(
        logits, labels, folds=folds, method=settings["method"], settings=settings, seed=seed
    )

    with new_folder(Path("ensemble")) as folder:
        save_ensemble(folder, fitted.ensemble)
        write_json(folder / "decision.json", fit_decision(fitted.logits, labels))
    metrics = describe(fitted.ensemble) | stack_metrics(
        logits, fitted.logits, labels, folds=folds, seed=seed
    )
    write_json(Path("metrics/stack.json"), metrics)
    tell(metrics)


if __name__ == "__main__":
    run_stage(main)
