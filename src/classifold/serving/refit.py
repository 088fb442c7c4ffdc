"""A last training of a chosen recipe, on training and validation images together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from classifold.data.csv_file import read_rows, write_rows
from classifold.data.json_file import read_json
from classifold.data.pack import Pack, join
from classifold.errors import UserError
from classifold.models.model_file import save_model
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.training.description import describe_training
from classifold.training.epochs import Epochs, Recipe
from classifold.training.limit import cap_epochs
from classifold.training.machine import Machine
from classifold.training.scores import METRIC, Score, merit
from classifold.training.setup import prepare

Rows = list[dict[str, Any]]


def refit(
    network: nn.Module,
    images: Pack,
    *,
    recipe: Recipe,
    policy: Mapping[str, Any],
    machine: Machine,
    recorded: Sequence[Mapping[str, Any]],
) -> Rows:
    """Train `network` in place as far as it was trained before, on more images.

    Each phase goes up to the epoch that was kept then. What its schedule was told of validation
    it is told again, so that plateaus lower the rate where they did; schedules that count steps
    count those of longer epochs. No image is left over to choose an epoch by, or to score.

    Args:
        network: on the machine's device, with its first weights.
        images: the training and the validation images.
        recipe: how to train.
        policy: of online augmentation.
        machine: what computes.
        recorded: rows of the earlier training's history: of each phase those up to the epoch
            that was kept.

    Returns:
        A row an epoch: phase, epoch, learning rate, scores on the images as they were trained on.
    """
    epochs = Epochs(images, recipe=recipe, policy=policy, machine=machine)
    history: Rows = []
    for name in sorted(recipe.phases):
        settings = recipe.phases[name]
        phase = epochs.begin(network, settings)
        metric = (settings.get("stop") or {}).get("metric") or METRIC[images.task]
        rows = [row for row in recorded if row["phase"] == name]
        for row in rows:
            epoch, learning_rate = int(row["epoch"]), round(phase.learning_rate, 10)
            trained = epochs.train(phase, epoch, name=name)
            phase.schedule.after_epoch(merit(Score.of(row, "validation"), metric)[0])
            begun = {"phase": name, "epoch": epoch, "learning_rate": learning_rate}
            history.append(begun | trained.told("train"))
        network.load_state_dict(phase.averaged.state_dict())
        log(f"  {name}: {len(rows)} epochs, loss {history[-1]['train_loss']:.4f}")
    network.eval()
    return history


def refit_model(name: str, params: Mapping[str, Any], *, root: Path, folder: Path) -> None:
    """Train a model of the project in `root` again, on train and validation, into `folder`.

    Offline copies are those of the training images; validation images have none.

    Args:
        name: of a model that the stage `train` has trained.
        params: the whole of `params.yaml`.
        root: of the project.
        folder: of the new model, which `model.json` marks with `trained_on`.

    Raises:
        UserError: if the model was not trained yet, or with other settings than params has now.
    """
    settings, max_epochs = params["train"], params["limit"]["epochs"]
    model = cap_epochs(params["models"][name], epochs=max_epochs)
    trained, metrics = root / "models" / name, root / "metrics/train" / f"{name}.json"
    if not (trained / "history.csv").is_file() or not metrics.is_file():
        raise UserError(f"model '{name}' is not trained yet; run 'dvc repro train@{name}' first")
    kept = read_json(metrics)["phases"]
    if set(kept) != set(model["phases"]):
        raise UserError(
            f"model '{name}' was trained in the phases {', '.join(kept)}, and params.yaml lists "
            f"{', '.join(model['phases'])}; run 'dvc repro train@{name}' first"
        )
    recorded = [
        row
        for row in read_rows(trained / "history.csv")
        if int(row["epoch"]) <= kept[row["phase"]]["best_epoch"]
    ]
    training = prepare(settings, model, packs=root / "data/augmented")
    images = join(training.train, training.validation)
    n_train, n_validation = len(training.train.labels), len(training.validation.labels)
    log(f"  {name}: {n_train:,} training and {n_validation:,} validation images")
    history = refit(
        training.network,
        images,
        recipe=training.recipe,
        policy=params["policies"][model["online"]],
        machine=training.machine,
        recorded=recorded,
    )
    with new_folder(folder) as new:
        save_model(
            new,
            training.network,
            network=model["network"],
            arguments=model["arguments"],
            classes=images.classes,
            preprocessing={
                "pack_size": images.size,
                "resize": images.resize,
                "image_size": model["image_size"],
                "normalize": model["normalize"],
            },
            training={
                "trained_on": ["train", "validation"],
                **describe_training(
                    images.originals(),
                    loss=training.recipe.loss,
                    precision=training.precision,
                    threads=settings["threads"],
                    processes=[training.machine.n_processes],
                    max_epochs=max_epochs,
                ),
            },
        )
        write_rows(new / "history.csv", history, columns=list(history[0]))
        card = _model_card(
            name,
            n_train=n_train,
            n_validation=n_validation,
            n_epochs=len(history),
            limit=params["limit"],
            root=root,
        )
        (new / "MODEL_CARD.md").write_text(card, encoding="utf-8")


def _model_card(
    name: str,
    *,
    n_train: int,
    n_validation: int,
    n_epochs: int,
    limit: Mapping[str, Any],
    root: Path,
) -> str:
    """Tell whoever gets the folder what the model has seen, and which score may be quoted."""
    path = root / "metrics/test.json"
    tested = (read_json(path) if path.is_file() else {}).get(name, {"n_images": 0})
    measure = next((key for key in ("accuracy", "micro_f1") if key in tested), None)
    quoted = "That model was not measured on test images."
    if measure:
        low, high = tested[f"{measure}_ci95"]
        quoted = (
            f"That model's {measure.replace('_', ' ')} on {tested['n_images']:,} test images is "
            f"{tested[measure]:.4f} (95 % interval {low:.4f} to {high:.4f})."
        )
    cut = [f"limit.{key}: {value}" for key, value in limit.items() if value is not None]
    short = f"- **A short form, no result**: trained with {', '.join(cut)}.\n" if cut else ""
    return f"""# {name}, refitted

{short}- **Refitted on training and validation images together**: {n_train:,} (with their augmented
  copies) and {n_validation:,}, for {n_epochs} epochs, as many as the model of the pipeline kept.
- It has no score of its own, since no image was left to measure it on but the test images. The
  score to quote is that of the same recipe trained without the validation images. {quoted}
- Temperature and thresholds are those that were fitted for that model.
- Network, preprocessing, classes and versions stand in `model.json`, the epochs in `history.csv`.
"""
