"""A last training run of a model of a project, on training and validation images together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifold.data.csv_file import read_rows
from classifold.data.json_file import read_json
from classifold.data.pack import join
from classifold.errors import UserError
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint, training_key
from classifold.training.config import HEAD
from classifold.training.limit import cap_epochs
from classifold.training.loop import refit
from classifold.training.setup import prepare
from classifold.training.train_model import write_model

CHECKPOINTS = Path(".cache/refit")


def refit_model(name: str, params: Mapping[str, Any], *, root: Path, folder: Path) -> None:
    """Train a model of the project in `root` again, on train and validation, into `folder`.

    Training images have their augmented variants; validation images have none. An interrupted
    training continues after its last epoch.

    Args:
        name: name of a model that the stage `train` has trained.
        params: the whole of `params.yaml`.
        root: root folder of the project.
        folder: folder of the new model, whose `model.json` has the key `trained_on`.

    Raises:
        UserError: if the model is not trained yet, or was trained with other phases than params
            has now.
    """
    settings, max_epochs = params["train"], params["limit"]["epochs"]
    model = cap_epochs(params["models"][name], epochs=max_epochs)
    policy = params["policies"][model["online"]]
    trained, metrics = root / "models" / name, root / "metrics/train" / f"{name}.json"
    if not (trained / "history.csv").is_file() or not metrics.is_file():
        raise UserError(f"models.{name}: not trained yet. Run 'dvc repro train@{name}'.")
    kept = read_json(metrics)["phases"]
    if set(kept) != set(model.get("phases", [HEAD])):
        raise UserError(
            f"models.{name}.phases: the model was trained with the phases {', '.join(kept)}, got "
            f"{', '.join(model.get('phases', [HEAD]))}. Run 'dvc repro train@{name}'."
        )
    recorded = [
        row
        for row in read_rows(trained / "history.csv")
        if int(row["epoch"]) <= kept[row["phase"]]["best_epoch"]
    ]
    packs = root / "data/augmented"
    training = prepare(settings, model, packs=packs, root=root)
    images = join(training.train, training.validation)
    n_train, n_validation = len(training.train.labels), len(training.validation.labels)
    log(f"  {name}: {n_train:,} training and {n_validation:,} validation images")
    work = {"train": settings, "model": model, "policy": policy, "precision": training.precision}
    checkpoint = Checkpoint(
        root / CHECKPOINTS / f"{name}.safetensors",
        training_key(
            work | {"recorded": recorded},
            packs,
            training.machine,
        ),
    )
    history = refit(
        training.network,
        images,
        config=training.config.as_trained(kept),
        policy=policy,
        machine=training.machine,
        cache=training.cache,
        recorded=recorded,
        checkpoint=checkpoint,
        title=name,
    )
    with new_folder(folder) as new:
        write_model(
            new,
            training,
            images,
            settings=settings,
            model=model,
            max_epochs=max_epochs,
            history=history,
            processes=[training.machine.n_processes],
            trained_on=["train", "validation"],
        )
        card = _model_card(
            name,
            n_train=n_train,
            n_validation=n_validation,
            n_epochs=len(history),
            limit=params["limit"],
            root=root,
        )
        (new / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    checkpoint.remove()


def _model_card(
    name: str,
    *,
    n_train: int,
    n_validation: int,
    n_epochs: int,
    limit: Mapping[str, Any],
    root: Path,
) -> str:
    """Describe what the model was trained on, and which score may be quoted for it."""
    path = root / "metrics/test.json"
    tested = (read_json(path) if path.is_file() else {}).get(name, {"n_images": 0})
    measure = next((key for key in ("accuracy", "micro_f1") if key in tested), None)
    quoted = "That model was not evaluated on test images."
    if measure:
        low, high = tested[f"{measure}_ci95"]
        quoted = (
            f"That model's {measure.replace('_', ' ')} on {tested['n_images']:,} test images is "
            f"{tested[measure]:.4f} (95 % interval {low:.4f} to {high:.4f})."
        )
    cut = [f"limit.{key}: {value}" for key, value in limit.items() if value is not None]
    short = f"- **Short form, not a result**: trained with {', '.join(cut)}.\n" if cut else ""
    return f"""# {name}, refitted

{short}- **Refitted on training and validation images together**: {n_train:,} (with their augmented
  variants) and {n_validation:,}, for {n_epochs} epochs, up to the epoch that the model of the
  pipeline kept.
- It has no score of its own: no image is left to evaluate it on except the test images. The score
  to quote is that of the same settings trained without the validation images. {quoted}
- Temperature and thresholds are those that were fitted for that model.
- `model.json` holds network, preprocessing, classes and versions, `history.csv` the epochs.
"""
