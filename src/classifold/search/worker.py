"""Workers: each takes trials that nobody runs, until all have ended."""

import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import URL

from classifold.errors import UserError
from classifold.runtime.processes import start_worker
from classifold.runtime.progress import log
from classifold.search.plan import Plan
from classifold.search.results import (
    FAILURE,
    OUTCOME,
    TRIAL,
    Row,
    best_of,
    ended_trials,
    read_rows_of,
)
from classifold.search.space import distributions, in_words, sampler_of
from classifold.search.storage import Opened, open_search
from classifold.search.trial import Outcome, run_trial

SECONDS_BETWEEN_LOOKS = 1.0  # at trials that others run


def run_search(plan: Plan, *, url: URL, n_workers: int) -> list[Row]:
    """Run what is left of a search, whoever ran the rest, and read all of it.

    Returns:
        A row a trial, all of them ended.

    Raises:
        UserError: if the storage cannot be used, or a worker was ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "a search trains each trial in one process; start it without torchrun, and with "
            "--workers as many as there are devices"
        )
    with open_search(plan, url) as opened:
        n_ended = len(ended_trials(opened.study, plan))
        log(f"  {plan.name}: {n_ended} of {plan.n_trials} trials are done")
        if n_workers == 1:
            work(plan, opened)
    if n_workers > 1 and n_ended < plan.n_trials:
        _run_workers(plan, url, min(n_workers, plan.n_trials - n_ended))
    with open_search(plan, url) as opened:
        return read_rows_of(opened.study, plan)


def work(plan: Plan, opened: Opened) -> None:
    """Run trials until all have ended; trials that others run are waited for.

    A trial is run by whoever holds its lock. One that was interrupted is run anew.
    """
    waits = False
    while left := _trials_left(plan, opened):
        if any(_try_trial(number, plan, opened) for number in left):
            waits = False
            continue
        if not waits:
            log(f"  waiting for trials that others run: {', '.join(map(str, left))}")
        waits = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _trials_left(plan: Plan, opened: Opened) -> list[int]:
    ended = ended_trials(opened.study, plan)
    return [number for number in range(1, plan.n_trials + 1) if number not in ended]


def _try_trial(number: int, plan: Plan, opened: Opened) -> bool:
    """Run a trial, unless another worker runs it or has run it; tell whether it was run here."""
    with opened.locks.take(f"trial-{number}") as taken:
        if not taken or number in ended_trials(opened.study, plan):
            return False
        for trial in opened.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(TRIAL) == number:  # nobody holds its lock: interrupted
                opened.study.tell(trial.number, state=TrialState.FAIL)
        try:
            _run(number, plan, opened.study)
        except UpdateFinishedTrialError:
            log(f"  trial {number}: another worker took it over while this one was cut off")
    return True


def _run(number: int, plan: Plan, study: optuna.Study) -> None:
    search = plan.search
    study.sampler = sampler_of(search, number)
    trial = study.ask(distributions(search))
    trial.set_user_attr(TRIAL, number)
    log(f"  trial {number} of {plan.n_trials}: {in_words(trial.params)}")

    def after_epoch(row: Mapping[str, Any]) -> None:
        trial.report(row[f"validation_{search.metric}"], row["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        outcome = run_trial(
            plan.params_of(trial.params), search.model, packs=plan.packs, after_epoch=after_epoch
        )
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        log(f"  trial {number}: pruned")
        return
    except UserError as error:
        # Not Optuna's FAIL, which samplers forget: where a loss explodes, they should not go again.
        trial.set_user_attr(FAILURE, str(error))
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        log(f"  trial {number}: failed: {error}")
        return
    trial.set_user_attr(OUTCOME, _told(outcome))
    value = getattr(outcome.validation, search.metric)
    study.tell(trial, value, skip_if_finished=True)
    best = best_of(read_rows_of(study, plan), search)
    if best:
        log(
            f"  trial {number}: validation {search.metric.replace('_', ' ')} {value:.4f} (best "
            f"{best.value:.4f}, trial {best.trial})"
        )


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.validation.columns("validation"),
        "train_accuracy": outcome.train_accuracy,
        "best_epoch": outcome.best_epoch,
        "n_epochs": outcome.n_epochs,
    }


def _run_workers(plan: Plan, url: URL, n_workers: int) -> None:
    """Work in several processes.

    Raises:
        UserError: if one of them did not end well; the others have gone on.
    """
    # spawn: forking a process that has threads may hang it.
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work_alone, args=(plan, url), daemon=True) for _ in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise UserError(
            "a worker was ended, see above, or from outside, most often for want of memory; start "
            "the search again: what was finished is kept"
        )


def _work_alone(plan: Plan, url: URL) -> None:
    start_worker()
    try:
        with open_search(plan, url) as opened:
            work(plan, opened)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
