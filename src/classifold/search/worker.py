"""The workers of a search: each runs trials that no other worker runs, until all have ended."""

import multiprocessing
import os
import sys
import time
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
from classifold.search.space import format_values
from classifold.search.storage import Opened, open_search
from classifold.search.trial import Outcome, ask_trial, report_to, run_trial

SECONDS_BETWEEN_POLLS = 1.0  # interval of checks of the trials that other workers run


def run_search(plan: Plan, *, url: URL, n_workers: int) -> list[Row]:
    """Run the trials of a search that have not ended, and read the results of all trials.

    Returns:
        One row per trial.

    Raises:
        UserError: if the storage cannot be used, or if a worker failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "classifold search: each trial is trained in one process. Start it without torchrun, "
            "and set --workers to the number of devices."
        )
    with open_search(plan, url) as opened:
        n_ended = len(ended_trials(opened.study, plan))
        log(f"  {plan.name}: {n_ended} of {plan.n_trials} trials have ended")
        if n_workers == 1:
            work(plan, opened)
    if n_workers > 1 and n_ended < plan.n_trials:
        _run_workers(plan, url, min(n_workers, plan.n_trials - n_ended))
    with open_search(plan, url) as opened:
        return read_rows_of(opened.study, plan)


def work(plan: Plan, opened: Opened) -> None:
    """Run trials until all have ended; wait for trials that other workers run.

    The process that holds a trial's lock runs it. An interrupted trial is run again.
    """
    is_waiting = False
    while left := _trials_left(plan, opened):
        if any(_try_trial(number, plan, opened) for number in left):
            is_waiting = False
            continue
        if not is_waiting:
            log(f"  waiting for trials of other workers: {', '.join(map(str, left))}")
        is_waiting = True
        time.sleep(SECONDS_BETWEEN_POLLS)


def _trials_left(plan: Plan, opened: Opened) -> list[int]:
    ended = ended_trials(opened.study, plan)
    return [number for number in range(1, plan.n_trials + 1) if number not in ended]


def _try_trial(number: int, plan: Plan, opened: Opened) -> bool:
    """Run a trial unless another worker runs it or has run it; return whether it was run."""
    with opened.locks.take(f"trial-{number}") as acquired:
        if not acquired or number in ended_trials(opened.study, plan):
            return False
        for trial in opened.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(TRIAL) == number:  # it held no lock: interrupted
                opened.study.tell(trial.number, state=TrialState.FAIL)
        try:
            _run(number, plan, opened.study)
        except UpdateFinishedTrialError:
            log(f"  trial {number}: another worker ran it while this one was disconnected")
    return True


def _run(number: int, plan: Plan, study: optuna.Study) -> None:
    search = plan.search
    trial = ask_trial(study, search, number)
    trial.set_user_attr(TRIAL, number)
    log(f"  trial {number} of {plan.n_trials}: {format_values(trial.params)}")
    try:
        outcome = run_trial(
            plan.params_of(trial.params),
            search.model,
            packs=plan.packs,
            after_epoch=report_to(trial, search.metric),
        )
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        log(f"  trial {number}: pruned")
        return
    except UserError as error:
        # Not Optuna's FAIL, which samplers ignore: they should learn where training diverges.
        trial.set_user_attr(FAILURE, str(error))
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        log(f"  trial {number}: failed: {error}")
        return
    trial.set_user_attr(OUTCOME, _user_attributes(outcome))
    value = getattr(outcome.validation, search.metric)
    study.tell(trial, value, skip_if_finished=True)
    best = best_of(read_rows_of(study, plan), search)
    if best:
        log(
            f"  trial {number}: validation {search.metric.replace('_', ' ')} {value:.4f} (best "
            f"{best.value:.4f}, trial {best.trial})"
        )


def _user_attributes(outcome: Outcome) -> dict[str, Any]:
    return {
        **outcome.validation.columns("validation"),
        "train_accuracy": outcome.train_accuracy,
        "best_epoch": outcome.best_epoch,
        "n_epochs": outcome.n_epochs,
    }


def _run_workers(plan: Plan, url: URL, n_workers: int) -> None:
    """Run trials in several processes.

    Raises:
        UserError: if one of them failed; the others have ended.
    """
    # spawn: forking a process that has threads may hang it.
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_run_worker, args=(plan, url), daemon=True) for _ in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise UserError(
            "classifold search: a worker failed, see above, or was killed, most often because the "
            "machine is out of memory. Run the same command again; trials that have ended are kept."
        )


def _run_worker(plan: Plan, url: URL) -> None:
    start_worker()
    try:
        with open_search(plan, url) as opened:
            work(plan, opened)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
