"""What Optuna samples a trial's values with, and what it ends poor trials with."""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler

from classifold.data.seeding import generator
from classifold.search.search_file import Search
from classifold.search.space import cells


def sampler_of(search: Search, trial: int) -> BaseSampler:
    """Make the sampler of one trial.

    Each trial has its own, seeded by its number: after a restart, or in another process, one
    sampler for all trials would sample the same values again.

    Args:
        search: whose space is sampled.
        trial: counted from 1.
    """
    if search.sampler.name == "grid":
        # Not Optuna's GridSampler: it numbers cells by its own trials, so that an interrupted one
        # leaves a cell out, and workers may run the same cell.
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            return PartialFixedSampler(cells(search)[trial - 1], RandomSampler())
    seed = int(generator(search.sampler.seed, "trial", trial).integers(2**32))
    if search.sampler.name == "tpe":
        return TPESampler(n_startup_trials=search.sampler.n_startup_trials, seed=seed)
    return RandomSampler(seed)


def pruner_of(search: Search, *, max_epochs: int) -> BasePruner:
    """Make the pruner of a search whose trials have at most `max_epochs` epochs."""
    settings = search.pruner.model_dump(exclude={"name"})
    if search.pruner.name == "median":
        return MedianPruner(**settings)
    if search.pruner.name == "hyperband":
        return HyperbandPruner(max_resource=max_epochs, **settings)
    return NopPruner()
