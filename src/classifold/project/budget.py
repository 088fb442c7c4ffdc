"""Choose models and epochs so that a run takes a given time, from measured speeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MIN_FRACTION = 0.3  # of the epochs of the recipe; with fewer a network is excluded
MAX_FACTOR = 3  # times the epochs of the recipe; more are hardly useful

# Measured with the embedded digits and with fruit.zip, in units of the start of a stage without
# PyTorch: so one number holds for slow and for fast machines.
# `train` imports PyTorch, `folds` only if it has something to do; each had a DVC of its own.
STARTS_OF_TRAINING = 4
STARTS_OF_THE_REST = 27  # of check, compare, and all stages from stack to report
WORK_OF_THE_REST = 10
WORK_PER_MAP = 1.2  # of t-SNE

# In units of the prediction of an image. Its speed is measured on one batch again and again; the
# stages after training also read, resize and corrupt images (1.4 times as long, in a run of 20
# minutes with fruit.zip).
WORK_PER_PREDICTION = 1.4
PREDICTIONS_PER_GRADIENT = 2  # in batches that are larger than those of predictions
PREDICTIONS_PER_OCCLUSION = 64
N_CORRUPTIONS = 15


class Speed(NamedTuple):
    """Seconds that a model takes on this machine."""

    once: float  # features, which all trainings of the model share
    each: float  # of each training: phases before the last one, the head of a probe, predictions
    epoch: float  # of an epoch of the last phase, with validation; 0 for a probe
    image: float  # of predicting an image

    def scaled(self, factor: float) -> "Speed":
        """Multiply all seconds."""
        return Speed(*(factor * seconds for seconds in self))


class Candidate(NamedTuple):
    """A model that can be trained."""

    speed: Speed
    epochs: int  # of the last phase in the recipe; 0 for a probe, which has none
    n_seeds: int = 1

    @property
    def is_probe(self) -> bool:
        """Whether it has no epochs."""
        return self.epochs == 0

    @property
    def shortest(self) -> int:
        """The fewest epochs that are worth it."""
        return math.ceil(self.epochs * MIN_FRACTION)

    @property
    def longest(self) -> int:
        """The most epochs that are useful."""
        return self.epochs * MAX_FACTOR


class Costs(NamedTuple):
    """What all models have in common."""

    start: float  # seconds until a stage begins to work
    n_folds: int  # of `stack.folds`
    n_test: int  # number of test images
    n_rows: int  # number of training images with their variants
    explain: Mapping[str, Any]  # section of params
    trained: Mapping[str, Candidate]  # models that may be explained, too
    robustness: Mapping[str, Any]  # section of params

    def training(self, candidate: Candidate, epochs: int) -> float:
        """Predict the seconds of the stages `train` and `folds` of a model."""
        # Each of n folds trains on (n - 1) / n of the images, from the first seed.
        trainings = candidate.n_seeds + max(self.n_folds - 1, 0)
        speed = candidate.speed
        return (
            STARTS_OF_TRAINING * self.start
            + speed.once
            + trainings * (speed.each + epochs * speed.epoch)
        )

    def evaluation(self, candidate: Candidate) -> float:
        """Predict the seconds that `evaluate` and `robustness` take for a model.

        It also predicts with the initial weights of a network that was trained.
        """
        n_evaluated = (candidate.n_seeds + (not candidate.is_probe)) * self.n_test
        n_changed = count_robustness(self.robustness, n_test=self.n_test)
        return WORK_PER_PREDICTION * (n_evaluated + n_changed) * candidate.speed.image

    def explanation(self, candidate: Candidate) -> float:
        """Predict the seconds of explanations and features, if this model is explained.

        Training has left the features of a probe in files, but not those of test images.
        """
        gradients = self.explain["smooth_samples"] + self.explain["integrated_steps"]
        each = PREDICTIONS_PER_GRADIENT * gradients + PREDICTIONS_PER_OCCLUSION
        n_features = self.n_test + (0 if candidate.is_probe else self.n_rows)
        n_predictions = self.explain["images"] * each + n_features
        return WORK_PER_PREDICTION * n_predictions * candidate.speed.image

    def of(self, candidate: Candidate, epochs: int) -> float:
        """Predict the seconds that training and evaluation take for a model."""
        return self.training(candidate, epochs) + self.evaluation(candidate)

    def total(self, candidates: Mapping[str, Candidate], epochs: Mapping[str, int]) -> float:
        """Predict the seconds of several models, each with a number of epochs.

        The slowest one may be the one that is explained.
        """
        explained = [*(candidates[name] for name in epochs), *self.trained.values()]
        models = sum(self.of(candidates[name], n) for name, n in epochs.items())
        return models + max(map(self.explanation, explained))


def count_robustness(settings: Mapping[str, Any], *, n_test: int) -> int:
    """Count the predictions of a model for corrupted and attacked images.

    Args:
        settings: section `robustness` of params.
        n_test: number of test images.
    """
    n_images = min(settings["images"], n_test)
    names, adversarial = settings["corruptions"], settings["adversarial"]
    n_corruptions = N_CORRUPTIONS if names == "all" else len(names)
    n_corrupted = n_images * (1 + n_corruptions * len(settings["severities"]))
    # FGSM and PGD against the model, and against the stack through the model.
    n_attacks = 2 * min(adversarial["images"], n_images) * len(adversarial["epsilons"])
    per_attack = (1 + adversarial["steps"]) * PREDICTIONS_PER_GRADIENT + 2
    return n_corrupted + n_attacks * per_attack


def shortest_plan(candidates: Mapping[str, Candidate], costs: Costs) -> dict[str, int]:
    """Return the model that takes the least time, with its fewest epochs."""
    plans = [{name: candidate.shortest} for name, candidate in candidates.items()]
    return min(plans, key=lambda plan: costs.total(candidates, plan))


def choose_epochs(
    candidates: Mapping[str, Candidate],
    costs: Costs,
    *,
    seconds: float,
    tolerance: float,
) -> dict[str, int]:
    """Choose models, and the epochs of each, that take about a given time.

    The slowest network is excluded until the others fit, then the slowest probe. If as many models
    fit with the fastest network among them, it is kept, since a probe cannot use the rest of the
    time; but not with one epoch, after which it is no better than a probe.
    Then the network with the smallest fraction of its recipe's epochs gets one more, until none can
    have one more.

    Args:
        candidates: the models; at least one is chosen.
        costs: what they have in common.
        seconds: the time for them.
        tolerance: seconds by which an epoch may exceed it.

    Returns:
        Name -> epochs, in the order of the candidates.
    """
    most = seconds + tolerance
    shortest = {name: candidate.shortest for name, candidate in candidates.items()}
    alone = {name: costs.total(candidates, {name: n}) for name, n in shortest.items()}
    # The last one of an order is excluded first.
    order = sorted(shortest, key=alone.__getitem__)
    orders = [order]
    if alone[order[0]] <= most:
        orders = [sorted(order, key=lambda name: not candidates[name].is_probe)]
        network = next((name for name in order if not candidates[name].is_probe), None)
        epochs = {network: max(shortest[network], 2)} if network else {}
        if network and costs.total(candidates, epochs) <= most:
            orders.insert(0, sorted(order, key=lambda name: name != network))

    def fitting(names: Sequence[str]) -> Sequence[str]:
        while len(names) > 1 and (
            costs.total(candidates, {name: shortest[name] for name in names}) > most
        ):
            names = names[:-1]
        return names

    kept = max(map(fitting, orders), key=len)
    plan = {name: n for name, n in shortest.items() if name in kept}
    growing = {name for name in plan if candidates[name].epochs}
    total = costs.total(candidates, plan)
    while growing:
        name = min(growing, key=lambda name: (plan[name] / candidates[name].epochs, name))
        longer = costs.total(candidates, {name: plan[name] + 1})
        longer -= costs.total(candidates, {name: plan[name]})
        if plan[name] >= candidates[name].longest or total + longer > seconds + tolerance:
            growing.remove(name)
            continue
        plan[name] += 1
        total += longer
    return plan


def seconds_of_the_rest(start: float, *, n_maps: int) -> float:
    """Predict the seconds of the stages after the trainings that depend on no model.

    Args:
        start: seconds until a stage begins to work.
        n_maps: number of t-SNE maps.
    """
    return start * (STARTS_OF_THE_REST + WORK_OF_THE_REST + WORK_PER_MAP * n_maps)
