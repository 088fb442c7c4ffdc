"""One trial: values are sampled, and a network with its first weights is trained and scored.

The key of a search is made from the code behind this module (`plan.py`), so all that the outcome
of a trial depends on is imported from here, and nothing else.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna

from classifold.search.samplers import sampler_of
from classifold.search.search_file import Search
from classifold.search.space import distributions
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.loop import fit
from classifold.training.model_errors import explain_errors_of
from classifold.training.scores import Score, score_logits
from classifold.training.setup import prepare


class Outcome(NamedTuple):
    """The result of a complete trial."""

    validation: Score  # score of the weights that training keeps
    best_epoch: int
    n_epochs: int
    train_accuracy: float  # accuracy in the best epoch, on augmented images


def ask_trial(study: optuna.Study, search: Search, number: int) -> optuna.Trial:
    """Begin the trial with a number, counted from 1, with sampled values."""
    study.sampler = sampler_of(search, number)
    return study.ask(distributions(search))


def run_trial(
    params: Mapping[str, Any],
    model: str,
    *,
    packs: Path,
    after_epoch: Callable[[Mapping[str, Any]], None] | None = None,
) -> Outcome:
    """Train a model as the stage `train` does, and score it on the validation images.

    Network, optimizer, schedules and loss are new, and random numbers depend on the model's
    seed, the epoch and the image alone: earlier trials in the same process make no difference.

    Args:
        params: all params of the trial.
        model: a name of `models`.
        packs: folder of the packs `train` and `validation`.
        after_epoch: is called with the history's row after every epoch; an exception from it ends
            the trial.

    Raises:
        UserError: if the network refuses its arguments, or if training runs out of memory or
            diverges.
    """
    settings = params["models"][model]
    with explain_errors_of(model):
        training = prepare(params["train"], settings, packs=packs)
        fitted = fit(
            training.network,
            training.train,
            training.validation,
            config=training.config,
            policy=params["policies"][settings["online"]],
            machine=training.machine,
            cache=training.cache,
            after_epoch=after_epoch,
        )
        logits = predict_distributed(
            training.network,
            training.validation,
            machine=training.machine,
            image_size=training.config.image_size,
            normalize=training.config.normalize,
            body=fitted.body,
        )
    return Outcome(
        score_logits(logits, training.validation.labels, loss=training.config.loss),
        fitted.best_epoch,
        len(fitted.history),
        fitted.history[fitted.best_epoch - 1]["train_accuracy"],
    )


def report_to(trial: optuna.Trial, metric: str) -> Callable[[Mapping[str, Any]], None]:
    """Make an `after_epoch` that reports the metric to a trial.

    Raises:
        TrialPruned: from `after_epoch`, if the study's pruner ends the trial.
    """

    def after_epoch(row: Mapping[str, Any]) -> None:
        trial.report(row[f"validation_{metric}"], row["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    return after_epoch
