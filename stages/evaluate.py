"""Stage `evaluate`: measure every model and the stack once, on images they have never seen."""

from pathlib import Path

from classifold.device import choose_device
from classifold.evaluation.answers import STACK, answer
from classifold.evaluation.files import write_evaluation
from classifold.evaluation.metrics import score
from classifold.folders import new_folder
from classifold.metrics_file import read_json, write_json
from classifold.params import read_params
from classifold.progress import say
from classifold.splitting.part_file import read_single
from classifold.stage import run_stage


def main() -> None:
    settings, device = read_params("evaluate", "train.device")
    labels = read_single(Path("data/split/test.csv"))
    decisions = read_json(Path("data/compared/decisions.json"))
    n_bins = settings["calibration_bins"]

    answers = answer(
        list(labels),
        ingested=Path("data/ingested"),
        models=Path("models"),
        ensemble=Path("ensemble"),
        decisions=decisions,
        device=choose_device(device),
    )

    with new_folder(Path("data/evaluated")) as folder:
        targets = write_evaluation(
            folder, answers, labels, classes=decisions["classes"], n_bins=n_bins
        )
    metrics = {
        name: score(probabilities, targets, calibration_bins=n_bins)
        for name, probabilities in answers.items()
    }
    write_json(Path("metrics/test.json"), metrics)
    if targets.size:
        low, high = metrics[STACK]["accuracy_ci95"]
        say(f"  stack: test accuracy {metrics[STACK]['accuracy']:.4f} ({low:.4f}-{high:.4f})")
    else:
        say("  no test images (split.shares.test is 0): nothing to measure")


if __name__ == "__main__":
    run_stage(main)
