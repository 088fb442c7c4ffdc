"""One trial: a network with its first weights, trained and scored; nothing else is touched."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from classifold.models.inference import predict_logits
from classifold.training.loop import fit
from classifold.training.out_of_memory import explain_out_of_memory
from classifold.training.scores import Score, score_logits
from classifold.training.setup import prepare


class Outcome(NamedTuple):
    """What is told of a trial that was trained to its end."""

    validation: Score  # of the weights that training keeps
    best_epoch: int
    n_epochs: int
    train_accuracy: float  # of the best epoch, on the images as they were trained on


def run_trial(
    params: Mapping[str, Any],
    model: str,
    *,
    packs: Path,
    after_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Outcome:
    """Train a model as the stage `train` would, and score it as it would, on validation images.

    Network, optimizer, schedules and loss are made anew, and random numbers depend on the
    model's seed, the epoch and the image: what ran before in this process makes no difference.

    Args:
        params: the whole params of the trial.
        model: a name of `models`.
        packs: folder of the packs `train` and `validation`.
        after_epoch: is given the history's row of every epoch; what it raises ends the trial.

    Raises:
        UserError: if the network refuses its arguments, memory is too small, or the loss explodes.
    """
    settings = params["models"][model]
    with explain_out_of_memory(model):
        training = prepare(params["train"], settings, packs=packs)
        fitted = fit(
            training.network,
            training.train,
            training.validation,
            recipe=training.recipe,
            policy=params["policies"][settings["online"]],
            machine=training.machine,
            after_epoch=after_epoch,
        )
        logits = predict_logits(
            training.network,
            training.validation.images,
            image_size=training.recipe.image_size,
            normalize=training.recipe.normalize,
            device=training.machine.device,
        )
    return Outcome(
        score_logits(logits, training.validation.labels, loss=training.recipe.loss),
        fitted.best_epoch,
        len(fitted.history),
        fitted.history[fitted.best_epoch - 1]["train_accuracy"],
    )
