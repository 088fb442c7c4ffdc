"""What a search found: a row a trial, the best of them, and how much each setting mattered."""

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
from classifold.search.space import distributions, in_words, label

# What a trial of ours tells beside what all trials of Optuna's do.
TRIAL, FAILURE, OUTCOME = "trial", "failure", "outcome"

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Row(NamedTuple):
    """A trial that has ended."""

    trial: int  # counted from 1
    state: str  # complete, pruned, failed
    drawn: dict[str, Any]  # dotted path -> number or label
    value: float | None  # of the metric, of a complete trial
    outcome: dict[str, Any]  # of a complete trial: all scores, epochs
    n_epochs: int
    seconds: float
    failure: str  # why it failed


def ended_trials(study: optuna.Study, plan: Plan) -> dict[int, FrozenTrial]:
    """Optuna's trials that have ended, by our number; what was interrupted is none of them."""
    ended: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False, states=ENDED):
        number = trial.user_attrs.get(TRIAL, 0)
        if 1 <= number <= plan.n_trials:
            ended.setdefault(number, trial)
    return ended


def read_rows_of(study: optuna.Study, plan: Plan) -> list[Row]:
    """All trials that have ended, in the order of their numbers."""
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
    """The complete trial with the best value; of equals the first."""
    sign = -1 if search.metric == "loss" else 1
    complete = [row for row in rows if row.value is not None]
    return max(complete, key=lambda row: sign * (row.value or 0.0), default=None)


def best_per_choice(rows: Sequence[Row], search: Search) -> dict[str, dict[str, Row]]:
    """Of every path with choices, and of every choice, the best trial: path -> choice -> row."""
    table: dict[str, dict[str, Row]] = {}
    for path, drawn in search.space.items():
        for choice in map(label, drawn.choices or ()):
            best = best_of([row for row in rows if row.drawn[path] == choice], search)
            if best:
                table.setdefault(path, {})[str(choice)] = best
    return table


def told_study(rows: Sequence[Row], search: Search) -> optuna.Study:
    """The complete trials as a study of Optuna's in memory."""
    study = optuna.create_study(direction="minimize" if search.metric == "loss" else "maximize")
    space = distributions(search)
    study.add_trials(
        create_trial(params=row.drawn, distributions=space, value=row.value)
        for row in rows
        if row.value is not None
    )
    return study


def importances(rows: Sequence[Row], search: Search) -> dict[str, float]:
    """How much of the variance of the metric each setting explains; they sum to 1.

    Empty where there is nothing to explain: one setting, or values that do not differ.

    Source: Hutter et al. 2014 (functional ANOVA), as Optuna has it.
    """
    values = {row.value for row in rows if row.value is not None}
    varied = [
        path
        for path in search.space
        if len({row.drawn[path] for row in rows if row.value is not None}) > 1
    ]
    if len(values) < 2 or len(varied) < 2:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=0)
    return dict(get_param_importances(told_study(rows, search), evaluator=evaluator, params=varied))


def search_metrics(rows: Sequence[Row], plan: Plan) -> dict[str, Any]:
    """Collect `metrics/search/<name>.json`."""
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
        "best_params": best.drawn if best else {},
        "importance": importances(rows, search),
        "best_per_choice": {
            path: {choice: row.value for choice, row in table.items()}
            for path, table in best_per_choice(rows, search).items()
        },
    }


def write_results(rows: Sequence[Row], plan: Plan, *, metrics: Path, table: Path) -> str:
    """Write metrics and the table of trials.

    Args:
        rows: a row a trial.
        plan: of the search.
        metrics: folder of the metrics file.
        table: the CSV to write.

    Returns:
        The best trial in words.

    Raises:
        UserError: if no trial was trained to its end; the files are written before.
    """
    columns, lines = trial_table(rows, plan.search)
    write_rows(table, lines, columns=columns)
    write_json(metrics / f"{plan.name}.json", search_metrics(rows, plan))
    best = best_of(rows, plan.search)
    if best is None:
        reasons = [row.failure for row in rows if row.failure]
        raise UserError(
            f"no trial of {plan.name} was trained to its end; see {table}"
            + (f"; the first failed: {reasons[0]}" if reasons else "")
        )
    return (
        f"trial {best.trial} is the best of {plan.n_trials}: {in_words(best.drawn)}, validation "
        f"{plan.search.metric.replace('_', ' ')} {best.value:.4f}"
    )


def trial_table(rows: Sequence[Row], search: Search) -> tuple[list[str], list[dict[str, Any]]]:
    """The trials as columns and rows of `trials.csv`."""
    scores = list(dict.fromkeys(key for row in rows for key in row.outcome if key != "n_epochs"))
    columns = ["trial", "state", *search.space, *scores, "n_epochs", "seconds", "failure"]
    table = [
        {
            "trial": row.trial,
            "state": row.state,
            **row.drawn,
            **{key: row.outcome.get(key, "") for key in scores},
            "n_epochs": row.n_epochs,
            "seconds": row.seconds,
            "failure": row.failure,
        }
        for row in rows
    ]
    return columns, table
