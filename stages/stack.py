"""Stage `stack`: fit an ensemble on the members' validation logits, measured out of fold."""

from pathlib import Path

from classifold.decisions import fit_temperature
from classifold.device import set_threads
from classifold.errors import UserError
from classifold.folders import new_folder
from classifold.logits_file import load_logits
from classifold.metrics_file import read_json, write_json
from classifold.params import read_params
from classifold.progress import say
from classifold.stacking.ensemble import cross_fit, save_ensemble
from classifold.stacking.report import stack_metrics
from classifold.stage import run_stage


def main() -> None:
    settings = read_params("stack")
    compared = Path("data/compared")
    listed = list(read_json(compared / "decisions.json")["models"])
    members = listed if settings["members"] == "all" else settings["members"]
    parts = {name: load_logits(compared / f"{name}.npz") for name in members}
    logits = {name: part.logits for name, part in parts.items()}
    labels = parts[members[0]].labels
    if labels.ndim > 1:
        raise UserError(
            "dataset.task is multi: metrics/models.json has the models' scores, but several labels "
            "an image are not stacked and tested as yet; 'dvc repro compare' is as far as they go"
        )
    set_threads(1)  # dense layers this small are slower on two, and weights then never differ
    method, seed = settings["method"], settings["seed"]

    fitted = cross_fit(
        logits,
        labels,
        method=method,
        inner_folds=settings["inner_folds"],
        dense=settings["dense"],
        seed=seed,
    )

    with new_folder(Path("ensemble")) as folder:
        save_ensemble(folder, fitted.ensemble)
        decision = {"temperature": fit_temperature(fitted.logits, labels)}
        write_json(folder / "decision.json", decision)
    metrics = stack_metrics(logits, fitted.logits, labels, method=method, seed=seed)
    write_json(Path("metrics/stack.json"), metrics)
    say(
        f"  {method} over {len(members)}: {metrics['validation_accuracy']:.4f}, best member "
        f"{metrics['best_member']} {metrics['best_member_accuracy']:.4f}"
    )


if __name__ == "__main__":
    run_stage(main)
