"""Train a model of params, and write it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.data.csv_file import write_rows
from classifold.data.logits_file import Logits, save_logits
from classifold.data.metrics import MAIN_METRIC, spread
from classifold.data.model_settings import by_seed, seed_folder
from classifold.data.pack import Pack
from classifold.models.model_file import save_model
from classifold.runtime.progress import log
from classifold.training.checkpoints import Checkpoint, training_key
from classifold.training.description import describe_training, training_metrics
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.loop import Fitted, fit
from classifold.training.model_errors import explain_errors_of
from classifold.training.scores import Score, score_logits
from classifold.training.setup import Training, prepare


class TrainedModel(NamedTuple):
    """A trained network, with the weights that were kept, and its results."""

    title: str  # for the log
    training: Training
    fitted: Fitted
    checkpoint: Checkpoint  # to be removed once the results are written
    validation: Logits
    calibration: Logits | None  # if there is such a split
    out_of_fold: Logits | None  # of a probe: training images, by heads fitted without them
    score: Score  # score of the validation images
    metrics: dict[str, Any]


def train_seeds(
    name: str, *, model: Mapping[str, Any], checkpoints: Path, **settings: Any
) -> dict[int, TrainedModel]:
    """Train a model from each of its seeds.

    An interrupted run continues: the checkpoints of finished seeds are kept for the caller to
    remove.

    Args:
        name: name of the model.
        model: its entry of `models` in params.
        checkpoints: folder of the checkpoints.
        settings: `settings`, `policy` and `packs` of `train_model`.

    Returns:
        Seed -> its model; the seed of the model itself is the first.

    Raises:
        UserError: as `train_model`.
    """
    models, trained = by_seed(model), {}
    for seed, of_seed in models.items():
        file = name if seed == model["seed"] else f"{name}.{seed}"
        trained[seed] = train_model(
            name,
            model=of_seed,
            title=name if len(models) == 1 else f"{name}, seed {seed}",
            checkpoint=checkpoints / f"{file}.safetensors",
            **settings,
        )
    return trained


def train_model(
    name: str,
    *,
    settings: Mapping[str, Any],
    model: Mapping[str, Any],
    policy: Mapping[str, Any],
    packs: Path,
    checkpoint: Path,
    title: str,
) -> TrainedModel:
    """Train a model, and predict the original training images and the validation images.

    Args:
        name: name of the model.
        settings: `train` of params.
        model: its entry of `models` in params.
        policy: policy of online augmentation.
        packs: folder of the packs `train` and `validation`.
        checkpoint: file from which an interrupted training run continues.
        title: what is trained, for the log.

    Raises:
        UserError: if the model or the device cannot be used, or if training fails.
    """
    with explain_errors_of(name):
        training = prepare(settings, model, packs=packs)
        validation, config, machine = training.validation, training.config, training.machine
        file = Checkpoint(checkpoint, training_key(training.params(policy), packs, machine))
        n_images = len(training.train.labels)
        log(f"  {title} on {machine.device.type}, {training.precision}, {n_images:,} images")
        fitted = fit(
            training.network,
            training.train,
            validation,
            config=config,
            policy=policy,
            machine=machine,
            cache=training.cache,
            checkpoint=file,
            title=title,
        )
        originals = training.train.originals()
        predict = partial(
            predict_distributed,
            training.network,
            machine=machine,
            body=fitted.body,
            image_size=config.image_size,
            normalize=config.normalize,
        )
        train_logits = predict(originals)
        kept = _logits_of(validation, predict(validation))
        calibration = None
        if training.calibration is not None:
            calibration = _logits_of(training.calibration, predict(training.calibration))
        out_of_fold = None
        if config.head and fitted.body and machine.fabric.global_rank == 0:
            # Not at the top: the import of scikit-learn takes a second.
            from classifold.training.probe import out_of_fold_logits  # noqa: PLC0415

            out_of_fold = out_of_fold_logits(
                training.network,
                fitted.body,
                training.train,
                config=config.as_trained(fitted.phases),
            )
    score = score_logits(kept.logits, validation.labels, loss=config.loss)
    metrics = training_metrics(
        training.network,
        fitted,
        train=score_logits(train_logits, originals.labels, loss=config.loss),
        validation=score,
    )
    fitted = fitted._replace(body=None)  # whose features may fill the memory of a GPU
    return TrainedModel(
        title, training, fitted, file, kept, calibration, out_of_fold, score, metrics
    )


def _logits_of(pack: Pack, logits: np.ndarray) -> Logits:
    return Logits(np.array(pack.ids), pack.labels, logits)


def write_seeds(
    folder: Path, trained: Mapping[int, TrainedModel], *, max_epochs: int | None
) -> None:
    """Write the model of the first seed into a folder, and those of others in folders in it.

    Args:
        folder: an existing folder.
        trained: as `train_seeds` returns it.
        max_epochs: `limit.epochs` of params; None without a limit.
    """
    first = next(iter(trained))
    for seed, of_seed in trained.items():
        own = folder if seed == first else seed_folder(folder, seed)
        own.mkdir(parents=True, exist_ok=True)
        history, processes = of_seed.fitted.history, of_seed.fitted.processes
        write_model(
            own, of_seed.training, max_epochs=max_epochs, history=history, processes=processes
        )
        for file in ("validation", "calibration", "out_of_fold"):
            if (logits := getattr(of_seed, file)) is not None:
                save_logits(own / f"{file}.npz", logits)


def metrics_of_seeds(trained: Mapping[int, TrainedModel]) -> dict[str, Any]:
    """Return the metrics of the first seed, and the spread of the validation scores of several."""
    metrics, *_ = (of_seed.metrics for of_seed in trained.values())
    if len(trained) == 1:
        return metrics
    (metric,) = {MAIN_METRIC[of_seed.training.train.task] for of_seed in trained.values()}
    scores = {seed: getattr(of_seed.score, metric) for seed, of_seed in trained.items()}
    return metrics | {"seeds": spread(scores)}


def write_model(
    folder: Path,
    training: Training,
    *,
    max_epochs: int | None,
    history: Sequence[Mapping[str, Any]],
    processes: Sequence[int],
    trained_on: Sequence[str] = (),
) -> None:
    """Write weights, `model.json` and `history.csv` of a trained network.

    Args:
        folder: an existing folder.
        training: its network has the trained weights, and `train` is all images that the network
            was trained on.
        max_epochs: `limit.epochs` of params; None without a limit.
        history: one row per epoch.
        processes: number of processes that trained together, for each epoch.
        trained_on: names of the splits that were trained on, if not only `train`.
    """
    images = training.train
    save_model(
        folder,
        training.network,
        network=training.model["network"],
        arguments=training.model["arguments"],
        classes=images.classes,
        preprocessing={
            "pack_size": images.size,
            "resize": images.resize,
            "ranges": images.ranges,
            "image_size": training.config.image_size,
            "normalize": training.config.normalize,
        },
        training=({"trained_on": list(trained_on)} if trained_on else {})
        | describe_training(
            images.originals(),
            loss=training.config.loss,
            precision=training.precision,
            threads=training.settings["threads"],
            processes=processes,
            max_epochs=max_epochs,
        ),
    )
    write_rows(folder / "history.csv", history, columns=list(history[0]))
