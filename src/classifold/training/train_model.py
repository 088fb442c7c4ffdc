"""Train a model of params, and write it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifold.data.csv_file import write_rows
from classifold.data.logits_file import Logits
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

    training: Training
    fitted: Fitted
    checkpoint: Checkpoint  # to be removed once the results are written
    validation: Logits
    out_of_fold: Logits | None  # of a probe: training images, by heads fitted without them
    score: Score  # score of the validation images
    metrics: dict[str, Any]


def train_model(
    name: str,
    *,
    settings: Mapping[str, Any],
    model: Mapping[str, Any],
    policy: Mapping[str, Any],
    packs: Path,
    checkpoint: Path,
) -> TrainedModel:
    """Train a model, and predict the original training images and the validation images.

    Args:
        name: name of the model.
        settings: `train` of params.
        model: its entry of `models` in params.
        policy: policy of online augmentation.
        packs: folder of the packs `train` and `validation`.
        checkpoint: file from which an interrupted training run continues.

    Raises:
        UserError: if the model or the device cannot be used, or if training fails.
    """
    with explain_errors_of(name):
        training = prepare(settings, model, packs=packs)
        validation, config, machine = training.validation, training.config, training.machine
        file = Checkpoint(checkpoint, training_key(training.params(policy), packs, machine))
        n_images = len(training.train.labels)
        log(f"  {name} on {machine.device.type}, {training.precision}, {n_images:,} images")
        fitted = fit(
            training.network,
            training.train,
            validation,
            config=config,
            policy=policy,
            machine=machine,
            cache=training.cache,
            checkpoint=file,
            title=name,
        )
        originals = training.train.originals()
        train_logits, logits = (
            predict_distributed(
                training.network,
                pack,
                machine=machine,
                body=fitted.body,
                image_size=config.image_size,
                normalize=config.normalize,
            )
            for pack in (originals, validation)
        )
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
    score = score_logits(logits, validation.labels, loss=config.loss)
    metrics = training_metrics(
        training.network,
        fitted,
        train=score_logits(train_logits, originals.labels, loss=config.loss),
        validation=score,
    )
    kept = Logits(np.array(validation.ids), validation.labels, logits)
    return TrainedModel(training, fitted, file, kept, out_of_fold, score, metrics)


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
