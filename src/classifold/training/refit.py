"""A last training run of a model of a project, on training and validation images together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

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


class Refitted(NamedTuple):
    """What a model was trained on."""

    n_train: int  # training images, with their augmented variants
    n_validation: int
    n_epochs: int


def refit_model(name: str, params: Mapping[str, Any], *, root: Path, folder: Path) -> Refitted:
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
    n_train, n_validation = len(training.train.labels), len(training.validation.labels)
    training = training._replace(train=join(training.train, training.validation))
    log(f"  {name}: {n_train:,} training and {n_validation:,} validation images")
    checkpoint = Checkpoint(
        root / CHECKPOINTS / f"{name}.safetensors",
        training_key(
            training.params(policy) | {"recorded": recorded},
            packs,
            training.machine,
        ),
    )
    history = refit(
        training.network,
        training.train,
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
            max_epochs=max_epochs,
            history=history,
            processes=[training.machine.n_processes],
            trained_on=["train", "validation"],
        )
    checkpoint.remove()
    return Refitted(n_train, n_validation, len(history))
