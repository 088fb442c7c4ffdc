"""The results of a search: its trials, the best of them, and the importance of each setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from classifold.data.csv_file import write_rows
from classifold.data.json_file import write_json
from classifold.errors import UserError
from classifold.search.plan import Plan
from classifold.search.search_file import Search
from classifold.search.space import choice_label, distributions, format_values

# User attributes of Optuna's trials.
TRIAL, FAILURE, OUTCOME = "trial", "failure", "outcome"

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Row(NamedTuple):
    """A trial that has ended."""

    trial: int  # counted from 1
    state: str  # complete, pruned, failed
    sampled: dict[str, Any]  # dotted path -> number or label
    value: float | None  # value of the metric; None if the trial is not complete
    outcome: dict[str, Any]  # scores and epochs, if the trial is complete
    n_epochs: int
    seconds: float
    failure: str  # why it failed


def ended_trials(study: optuna.Study, plan: Plan) -> dict[int, FrozenTrial]:
    """Read the trials that have ended, by our number; interrupted trials are not among them."""
    ended: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False, states=ENDED):
        number = trial.user_attrs.get(TRIAL, 0)
        if 1 <= number <= plan.n_trials:
            ended.setdefault(number, trial)
    return ended


def read_rows_of(study: optuna.Study, plan: Plan) -> list[Row]:
    """Read the trials that have ended, in the order of their numbers."""
    return [_row(number, trial) for number, trial in sorted(ended_trials(study, plan).items())]


def _row(number: int, trial: FrozenTrial) -> Row:
    complete = trial.state is TrialState.COMPLETE
    failure = trial.user_attrs.get(FAILURE, "")
    outcome = trial.user_attrs.get(OUTCOME, {}) if complete else {}
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return Row(
        number,
        "complete" if complete else "failed" if failure else "pruned",
        trial.params,
        trial.value if complete else None,
        outcome,
        outcome.get("n_epochs", len(trial.intermediate_values)),
        round(seconds, 2),
        failure,
    )


def best_of(rows: Sequence[Row], search: Search) -> Row | None:
    """Find the complete trial with the best value; of equal ones, the first."""
    sign = -1 if search.metric == "loss" else 1
    complete = [row for row in rows if row.value is not None]
    return max(complete, key=lambda row: sign * (row.value or 0.0), default=None)


def best_per_choice(rows: Sequence[Row], search: Search) -> dict[str, dict[str, Row]]:
    """Find the best trial with each choice: path -> choice -> row."""
    table: dict[str, dict[str, Row]] = {}
    for path, distribution in search.space.items():
        for choice in map(choice_label, distribution.choices or ()):
            best = best_of([row for row in rows if row.sampled[path] == choice], search)
            if best:
                table.setdefault(path, {})[str(choice)] = best
    return table


def study_in_memory(rows: Sequence[Row], search: Search) -> optuna.Study:
    """Copy the complete trials to a study in memory."""
    study = optuna.create_study(direction="minimize" if search.metric == "loss" else "maximize")
    space = distributions(search)
    study.add_trials(
        create_trial(params=row.sampled, distributions=space, value=row.value)
        for row in rows
        if row.value is not None
    )
    return study


def importances(rows: Sequence[Row], search: Search) -> dict[str, float]:
    """Estimate the fraction of the metric's variance that each setting explains; they sum to 1.

    Returns:
        An empty mapping if only one setting varies, or if the metric does not.

    Source: Hutter et al. 2014 (functional ANOVA), implemented by Optuna.
    """
    values = {row.value for row in rows if row.value is not None}
    varied = [
        path
        for path in search.space
        if len({row.sampled[path] for row in rows if row.value is not None}) > 1
    ]
    if len(values) < 2 or len(varied) < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=0)
    return dict(
        get_param_importances(study_in_memory(rows, search), evaluator=evaluator, params=varied)
    )


def search_metrics(rows: Sequence[Row], plan: Plan) -> dict[str, Any]:
    """Compute the content of `metrics/search/<name>.json`."""
    search = plan.search
    best = best_of(rows, search)
    states = {f"n_{state}": 0 for state in ("complete", "pruned", "failed")}
    for row in rows:
        states[f"n_{row.state}"] += 1
    return {
        "model": search.model,
        "metric": f"validation_{search.metric}",
        "sampler": search.sampler.name,
        "n_trials": plan.n_trials,
        **states,
        "best_value": best.value if best else None,
        "best_trial": best.trial if best else None,
        "best_epoch": best.outcome["best_epoch"] if best else None,
        "best_params": best.sampled if best else {},
        "importance": importances(rows, search),
        "best_per_choice": {
            path: {choice: row.value for choice, row in table.items()}
            for path, table in best_per_choice(rows, search).items()
        },
    }


def write_results(rows: Sequence[Row], plan: Plan, *, metrics: Path, table: Path) -> str:
    """Write metrics and the table of trials.

    Args:
        rows: the trials that have ended.
        plan: plan of the search.
        metrics: folder of the metrics file.
        table: the CSV to write.

    Returns:
        A message about the best trial.

    Raises:
        UserError: if no trial is complete; the files are written first.
    """
    columns, lines = trial_table(rows, plan.search)
    write_rows(table, lines, columns=columns)
    write_json(metrics / f"{plan.name}.json", search_metrics(rows, plan))
    best = best_of(rows, plan.search)
    if best is None:
        reasons = [row.failure for row in rows if row.failure]
        raise UserError(
            f"no trial of {plan.name} is complete; see {table}"
            + (f"; the first failed: {reasons[0]}" if reasons else "")
        )
    return (
        f"trial {best.trial} is the best of {plan.n_trials}: {format_values(best.sampled)}, "
        f"validation {plan.search.metric.replace('_', ' ')} {best.value:.4f}"
    )


def trial_table(rows: Sequence[Row], search: Search) -> tuple[list[str], list[dict[str, Any]]]:
    """Make the columns and rows of `trials.csv`."""
    scores = list(dict.fromkeys(key for row in rows for key in row.outcome if key != "n_epochs"))
    columns = ["trial", "state", *search.space, *scores, "n_epochs", "seconds", "failure"]
    table = [
        {
            "trial": row.trial,
            "state": row.state,
            **row.sampled,
            **{key: row.outcome.get(key, "") for key in scores},
            "n_epochs": row.n_epochs,
            "seconds": row.seconds,
            "failure": row.failure,
        }
        for row in rows
    ]
    return columns, table
