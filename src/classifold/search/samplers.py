"""What Optuna samples a trial's values with, and what it ends poor trials with."""

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from classifold.data.seeding import generator
from classifold.search.search_file import Search
from classifold.search.space import Sampled, cells


def sampler_of(search: Search, trial: int) -> BaseSampler:
    """Make the sampler of one trial.

    Each trial has its own, seeded by its number: after a restart, or in another process, one
    sampler for all trials would sample the same values again.

    Args:
        search: whose space is sampled.
        trial: counted from 1.
    """
    if search.sampler.name == "grid":
        return _CellSampler(cells(search)[trial - 1])
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


class _CellSampler(RandomSampler):
    """Gives a trial the values of one cell of a grid.

    Optuna's GridSampler numbers cells by its own trial numbers, among which interrupted trials
    count: their cells would never be tried again.
    """

    def __init__(self, cell: Sampled) -> None:
        super().__init__()
        self._cell = cell

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the value of the cell."""
        return self._cell[param_name]
