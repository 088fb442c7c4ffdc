"""Ensembles: the mean, the regression, the dense layers; and an honest score of each."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_expit, log_softmax, logit, softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from classifold.data import row_blocks
from classifold.data.logits_file import Logits, save_logits
from classifold.data.metrics import micro_f1
from classifold.data.seeding import generator
from classifold.errors import UserError
from classifold.evaluation.stack_scores import describe_ensemble, stack_metrics
from classifold.models.decisions import fit_decision, fit_temperature, fit_uncertainty
from classifold.stacking import cross_fitting, dense
from classifold.stacking.dense import DenseStack, fit_dense
from classifold.stacking.ensemble import (
    ensemble_logits,
    fit_ensemble,
    load_ensemble,
    save_ensemble,
)
from classifold.stacking.member_logits import MemberLogits, assign_folds, read_member_logits
from classifold.stacking.member_weights import fit_weights, select_greedily
from classifold.stacking.members import average, join, mean_logits, probability_of_truth
from classifold.stacking.stack import fit_stack

DENSE = {"hidden": [16], "dropout": 0.1, "lr": 0.01, "weight_decay": 0.01}
DENSE |= {"epochs": 30, "patience": 5}
SETTINGS = {"dense": DENSE, "logistic": {"c": 1.0}, "greedy": {"rounds": 20}}
METHODS = ["mean", "weighted", "greedy", "logistic", "dense"]


def cross_fit(logits, labels, *, method, settings=SETTINGS):
    ids = [str(i) for i in range(len(labels))]
    unseen = MemberLogits(ids, labels, logits)
    folds = assign_folds(unseen, dict(zip(ids, ids, strict=True)), n_folds=4, seed=1)
    return cross_fitting.cross_fit(
        logits, labels, folds=folds, method=method, settings=settings, seed=1
    )


def logits_and_labels(n_images=160, *, n_classes=4, seed=0):
    """Two members, each of which knows only one half of the classes, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_images)
    truth = np.eye(n_classes)[labels] * 3
    halves = np.arange(n_classes) < n_classes / 2
    logits = {}
    for name, known in (("low", halves), ("high", ~halves)):
        noise = random.normal(0, 1, (n_images, n_classes))
        logits[name] = (np.where(known[labels][:, None], truth, 0) + noise).astype(np.float32)
    return logits, labels


def log_probabilities(logits):
    """The log probabilities of all members, float64 (N, members, classes)."""
    return join(list(logits.values()), task="single")


@given(st.integers(1, 4), st.integers(2, 5))
def test_the_mean_averages_probabilities(n_members, n_classes):
    random = np.random.default_rng(0)
    logits = [random.normal(0, 5, (6, n_classes)) for _ in range(n_members)]
    expected = np.mean([softmax(values, axis=1) for values in logits], axis=0)
    np.testing.assert_allclose(softmax(mean_logits(logits, task="single"), axis=1), expected)


def test_the_method_mean_is_the_mean_and_has_no_fitted_weights():
    logits, labels = logits_and_labels()
    fitted = cross_fit(logits, labels, method="mean")
    expected = mean_logits(list(logits.values()), task="single")
    np.testing.assert_allclose(fitted.logits, expected)
    np.testing.assert_allclose(ensemble_logits(fitted.ensemble, logits), expected)
    np.testing.assert_array_equal(fitted.ensemble.weights["member_weights"], [0.5, 0.5])


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_method_logistic_is_scikit_learns_regression_on_log_probabilities(n_classes):
    logits, labels = logits_and_labels(n_classes=n_classes)
    fitted = cross_fit(logits, labels, method="logistic")
    inputs = np.concatenate([log_softmax(v.astype(np.float64), axis=1) for v in logits.values()], 1)
    reference = LogisticRegression(max_iter=2000).fit(inputs, labels)
    probabilities = softmax(ensemble_logits(fitted.ensemble, logits), axis=1)
    np.testing.assert_allclose(probabilities, reference.predict_proba(inputs), atol=1e-4)


@pytest.mark.parametrize("n_of_the_class", [0, 1])
def test_a_class_without_images_to_fit_on_is_never_predicted(n_of_the_class):
    logits, labels = logits_and_labels()
    labels[labels == 3] = 2
    labels[:n_of_the_class] = 3  # one image: the ensemble of its fold is fitted without it
    fitted = cross_fit(logits, labels, method="logistic")
    assert fitted.logits.shape == (160, 4)
    assert fitted.logits[0].argmax() != 3
    of_class = softmax(fitted.logits, axis=1)[:, 3]
    assert 0 < of_class[0] <= 1 / (len(labels) * 3 / 4 + 3)
    # A probability of 0 would raise the temperature to its upper limit, 20.
    assert fit_decision(fitted.logits, labels)["temperature"] < 2


def test_many_classes_without_images_to_fit_on_have_a_low_probability_together():
    logits, labels = logits_and_labels(160, n_classes=40)
    fitted = fit_ensemble(logits, labels % 4, method="logistic", settings=SETTINGS, seed=1)
    found = softmax(ensemble_logits(fitted.ensemble, logits), axis=1)
    assert found[:, 4:].sum(axis=1).max() <= 1 / (160 + 3)


def test_dense_layers_add_a_correction_of_the_members_asinh():
    random = np.random.default_rng(0)
    inputs, weight = random.normal(0, 5, (6, 2, 3)), random.normal(0, 1, (3, 6))
    stack = DenseStack(2, 3, hidden=[], dropout=0.0).double()
    stack.dense[-1].weight.data = torch.from_numpy(weight)
    expected = inputs.mean(1) + np.arcsinh(inputs).reshape(6, 6) @ weight.T
    np.testing.assert_allclose(stack(torch.from_numpy(inputs)).detach(), expected)


def same_weights(network, other, **tolerances):
    for name, weights in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weights, **tolerances)


def test_dense_layers_have_the_weights_of_their_best_epoch():
    logits, labels = logits_and_labels(100)
    settings = DENSE | {"lr": 0.1, "seed": 1}
    stopped, n_epochs = fit_dense(log_probabilities(logits), labels, **settings | {"epochs": 200})
    assert 0 < n_epochs < 200 - DENSE["patience"]
    exact, same = fit_dense(log_probabilities(logits), labels, **settings | {"epochs": n_epochs})
    assert same == n_epochs
    same_weights(exact, stopped, rtol=0, atol=0)


def test_dense_layers_are_fitted_on_all_images_for_the_median_of_the_folds_epochs(monkeypatch):
    logits, labels = logits_and_labels(60)
    epochs, given = iter([2, 30, 5, 8, 0]), []

    def fit(*arguments, settings, **others):
        given.append(settings["dense"])
        fitted = fit_ensemble(*arguments, settings=settings, **others)
        return fitted._replace(n_epochs=next(epochs))

    monkeypatch.setattr(cross_fitting, "fit_ensemble", fit)
    cross_fit(logits, labels, method="dense")
    assert given[:4] == [DENSE] * 4
    assert given[4:] == [DENSE | {"epochs": 6, "patience": None}]  # 6.5, rounded to even


def test_many_weights_are_fitted_in_one_pass_and_are_the_same_but_for_rounding(monkeypatch):
    logits, labels = logits_and_labels(60)
    exact, n_epochs = fit_dense(log_probabilities(logits), labels, **DENSE, seed=1)
    monkeypatch.setattr(dense, "MIN_FUSED", 0)
    fused, same = fit_dense(log_probabilities(logits), labels, **DENSE, seed=1)
    assert same == n_epochs > 0
    same_weights(exact, fused, rtol=1e-3, atol=1e-4)


def test_members_are_joined_in_blocks_with_the_same_bits(monkeypatch):
    logits, _ = logits_and_labels(60)
    expected = log_softmax(np.stack(list(logits.values()), 1).astype(np.float64), axis=2)
    monkeypatch.setattr(row_blocks, "MAX_VALUES", 1)
    np.testing.assert_array_equal(log_probabilities(logits), expected)
    single = join(list(logits.values()), task="single", dtype=np.float32)
    np.testing.assert_array_equal(single, expected.astype(np.float32))


@pytest.mark.parametrize("n_epochs", [0, 7])
def test_without_patience_exactly_the_given_epochs_are_fitted_starting_from_the_mean(n_epochs):
    logits, labels = logits_and_labels()
    inputs = log_probabilities(logits).astype(np.float32)
    settings = DENSE | {"hidden": [16, 8], "epochs": n_epochs, "patience": None}
    stack, fitted = fit_dense(inputs, labels, **settings, seed=1)
    assert fitted == n_epochs
    found = stack(torch.from_numpy(inputs)).detach().numpy()
    assert np.allclose(found, inputs.mean(axis=1), rtol=1e-5) == (n_epochs == 0)


def test_dense_layers_learn_which_member_is_right_and_beat_the_mean_on_new_images():
    logits, labels = logits_and_labels(400)
    new, new_labels = logits_and_labels(400, seed=9)
    scores = {}
    for method in ("mean", "dense"):
        ensemble = cross_fit(logits, labels, method=method).ensemble
        found = log_softmax(ensemble_logits(ensemble, new), axis=1)
        scores[method] = -found[np.arange(400), new_labels].mean()
    assert scores["dense"] < scores["mean"] - 0.05


def test_early_stopping_ends_the_fit_after_its_patience(monkeypatch):
    epochs = []

    def spy(seed, *counters):
        epochs.extend(counters[1:])
        return generator(seed, *counters)

    monkeypatch.setattr(dense, "generator", spy)
    logits, _ = logits_and_labels(60)
    labels = np.random.default_rng(5).integers(0, 4, 60)  # nothing to learn
    settings = DENSE | {"epochs": 1000, "patience": 3, "lr": 0.1}
    _, n_epochs = fit_dense(log_probabilities(logits), labels, **settings, seed=1)
    assert n_epochs < 20
    assert epochs == list(range(1, n_epochs + 4))


@pytest.mark.parametrize("task", ["single", "rare", "multi"])
def test_a_fifth_is_held_out_from_the_fit_of_dense_layers(task):
    classes = np.arange(20) % 4
    several = np.eye(4, dtype=int)[classes]
    labels = {"single": classes, "rare": np.arange(20) // 19, "multi": several}[task]
    fitted, held_out = dense._hold_out(labels, 1)
    assert len(held_out) == 4
    assert sorted([*fitted, *held_out]) == list(range(20))


@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_is_scored_on_images_that_it_was_not_fitted_on(method):
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, 80)  # nothing to learn: logits and labels are independent
    logits = {f"m{i}": random.normal(0, 2, (80, 4)).astype(np.float32) for i in range(8)}
    settings = SETTINGS | {"dense": DENSE | {"hidden": [64], "lr": 0.05, "dropout": 0.0}}
    fitted = cross_fit(logits, labels, method=method, settings=settings)
    assert (fitted.logits.argmax(axis=1) == labels).mean() < 0.4
    if method == "logistic":  # an ensemble that is fitted on all of them overfits
        in_sample = ensemble_logits(fitted.ensemble, logits).argmax(axis=1)
        assert (in_sample == labels).mean() > 0.55


@functools.cache
def fitted_once(method, task="single"):
    """Logits of two members, labels, and the ensemble that is fitted on them."""
    logits, labels = {"single": logits_and_labels, "multi": logits_and_columns}[task](60)
    return logits, labels, cross_fit(logits, labels, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_fits_the_same_ensemble(method):
    logits, labels, first = fitted_once(method)
    again = cross_fit(logits, labels, method=method)
    np.testing.assert_array_equal(first.logits, again.logits)
    np.testing.assert_equal(first.ensemble.weights, again.ensemble.weights)


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("method", METHODS)
def test_a_stored_ensemble_has_the_logits_of_the_fitted_one_for_members_in_any_order(
    tmp_path, method, task
):
    logits, _, fitted = fitted_once(method, task)
    save_ensemble(tmp_path, fitted.ensemble)
    loaded = load_ensemble(tmp_path)
    assert (loaded.members, loaded.task) == (["low", "high"], task)
    turned = {"other": logits["low"] * 0, "high": logits["high"], "low": logits["low"]}
    np.testing.assert_array_equal(
        ensemble_logits(loaded, turned), ensemble_logits(fitted.ensemble, logits)
    )


def test_a_stored_ensemble_without_temperatures_averages_probabilities(tmp_path):
    logits, _, fitted = fitted_once("weighted")
    weights = {"member_weights": fitted.ensemble.weights["member_weights"]}
    save_ensemble(tmp_path, fitted.ensemble._replace(weights=weights))
    expected = average(log_probabilities(logits), weights["member_weights"], task="single")
    np.testing.assert_array_equal(ensemble_logits(load_ensemble(tmp_path), logits), expected)


def test_a_member_with_nan_logits_is_named_with_a_remedy():
    logits, labels = logits_and_labels()
    logits["high"][3, 1] = np.nan
    message = r"'high'.*logits.*NaN.*stack.members"
    with pytest.raises(UserError, match=message):
        cross_fit(logits, labels, method="mean")


def logits_and_columns(n_images=200, seed=0):
    """Two members, each of which knows some of three labels, and labels (N, 3)."""
    random = np.random.default_rng(seed)
    labels = (random.random((n_images, 3)) < [0.5, 0.3, 0.2]).astype(np.uint8)
    logits = {}
    for name, known in (("low", [1, 1, 0]), ("high", [0, 1, 1])):
        noise = random.normal(0, 1, labels.shape)
        logits[name] = (4.0 * (labels - 0.5) * known + noise).astype(np.float32)
    return logits, labels


def test_with_several_labels_the_mean_averages_the_probability_of_each_class():
    logits, _ = logits_and_columns()
    logits["low"][0] = [800, -800, 0]  # beyond what a sigmoid can distinguish from 1 and 0
    logits["high"][0] = [700, -700, 0]
    expected = np.mean([expit(values.astype(np.float64)) for values in logits.values()], axis=0)
    found = mean_logits(list(logits.values()), task="multi")
    np.testing.assert_allclose(expit(found), expected, atol=1e-12)
    assert found[0, 0] == pytest.approx(700, abs=1)


@pytest.mark.parametrize("method", ["weighted", "greedy", "logistic", "dense"])
def test_with_several_labels_a_fitted_stack_beats_the_mean_on_new_images(method):
    logits, labels = logits_and_columns(400)
    new, new_labels = logits_and_columns(400, seed=9)
    logits["noise"] = np.random.default_rng(1).normal(0, 5, labels.shape)
    new["noise"] = np.random.default_rng(2).normal(0, 5, labels.shape)
    losses = {}
    for name in ("mean", method):
        ensemble = cross_fit(logits, labels, method=name).ensemble
        odds = ensemble_logits(ensemble, new)
        losses[name] = -log_expit(np.where(new_labels, odds, -odds)).mean()
    assert losses[method] < losses["mean"] - 0.05


def test_with_several_labels_the_regression_of_each_class_is_scikit_learns():
    logits, labels = logits_and_columns()
    labels[:, 2] = 0  # a class without images to fit on
    everywhere = np.concatenate([labels[:, :2], np.ones((200, 1), labels.dtype)], axis=1)
    found = expit(ensemble_logits(cross_fit(logits, labels, method="logistic").ensemble, logits))
    inputs = np.concatenate(list(logits.values()), axis=1)
    for i in (0, 1):
        reference = LogisticRegression(max_iter=2000).fit(inputs, labels[:, i])
        np.testing.assert_allclose(found[:, i], reference.predict_proba(inputs)[:, 1], atol=1e-4)
    np.testing.assert_allclose(found[:, 2], 1 / (200 + 3))
    positive = cross_fit(logits, everywhere, method="logistic").ensemble
    np.testing.assert_allclose(expit(ensemble_logits(positive, logits))[:, 2], 202 / (200 + 3))


def test_the_probability_of_the_truth_by_hand():
    logits = [np.log([[0.7, 0.3], [0.2, 0.8]]), np.log([[0.5, 0.5], [0.9, 0.1]])]
    truth = probability_of_truth(log_probabilities(dict(enumerate(logits))), np.array([0, 1]))
    np.testing.assert_allclose(truth, [[0.7, 0.5], [0.8, 0.1]])

    odds = [logit([[0.7, 0.3]]), logit([[0.5, 0.9]])]
    truth = probability_of_truth(join(odds, task="multi"), np.array([[1, 0]]))
    np.testing.assert_allclose(truth, [[0.7, 0.5], [0.7, 0.1]])  # the second is negative


def test_weights_by_hand():
    # The log loss of p = 0.9 s + 0.1 (1 - s) on three images, 0.1 s + 0.9 (1 - s) on one, is
    # lowest where p = 3/4: 0.1 + 0.8 s = 0.75.
    truth = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]])
    np.testing.assert_allclose(fit_weights(truth), [0.8125, 0.1875], atol=1e-4)


@given(st.integers(1, 5), st.integers(0, 1000))
def test_no_change_of_the_weights_lowers_the_log_loss(n_members, seed):
    truth = np.random.default_rng(seed).uniform(0.01, 1, (50, n_members))
    weights = fit_weights(truth)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    loss = -np.log(truth @ weights).mean()
    for vertex in np.eye(n_members):
        moved = 0.99 * weights + 0.01 * vertex
        assert -np.log(truth @ moved).mean() > loss - 1e-6


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("method", ["weighted", "greedy"])
def test_the_scale_of_a_members_logits_does_not_change_a_weighted_average(method, task):
    logits, labels = {"single": logits_and_labels, "multi": logits_and_columns}[task]()
    expected = cross_fit(logits, labels, method=method)
    scaled = logits | {"low": logits["low"] / 3}  # as underconfident as after label smoothing
    found = cross_fit(scaled, labels, method=method)
    np.testing.assert_allclose(
        found.ensemble.weights["member_weights"],
        expected.ensemble.weights["member_weights"],
        atol=1e-3,
    )
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-2, atol=1e-2)


def test_greedy_selection_by_hand():
    # The first member alone is best; with the second added the log loss falls; a third hurts.
    truth = np.array([[0.8, 0.3, 0.1], [0.3, 0.6, 0.1]])
    # alone: -ln(0.8 * 0.3) = 1.43 < 1.71; both: -ln(0.55 * 0.45) = 1.40; then one of each again.
    np.testing.assert_allclose(select_greedily(truth, rounds=2), [0.5, 0.5, 0])
    np.testing.assert_allclose(select_greedily(truth, rounds=1), [1, 0, 0])


def test_with_many_rounds_greedy_selection_comes_near_the_best_weights():
    truth = np.random.default_rng(0).uniform(0.01, 1, (200, 4))
    best = -np.log(truth @ fit_weights(truth)).mean()
    found = -np.log(truth @ select_greedily(truth, rounds=200)).mean()
    assert best <= found < best + 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("several", [False, True])
def test_a_stack_of_one_member_is_exactly_the_member(method, several):
    logits, labels = logits_and_columns(80) if several else logits_and_labels(80)
    name = next(iter(logits))
    one = {name: logits[name]}
    fitted = cross_fit(one, labels, method=method)
    np.testing.assert_array_equal(fitted.logits, one[name])
    np.testing.assert_array_equal(ensemble_logits(fitted.ensemble, one), one[name])
    assert fit_decision(fitted.logits, labels) == fit_decision(one[name], labels)
    metrics = stack_metrics(one, fitted.logits, labels, folds=np.arange(80) % 4)
    assert (metrics["gain"], metrics["gain_ci95"]) == (0, [0, 0])
    assert (metrics["gain_of_mean"], metrics["gain_of_mean_ci95"]) == (0, [0, 0])
    description = describe_ensemble(fitted.ensemble, method=method, n_folds=0)
    assert description["n_members"] == 1
    assert method == "mean" or f"is that member, {name}" in description["reason"]


@pytest.mark.parametrize("method", METHODS)
def test_a_stack_of_equal_members_has_the_logits_of_one_of_them(method):
    logits, labels = logits_and_labels(120)
    equal = {"a": logits["low"], "b": logits["low"]}
    found = cross_fit(equal, labels, method=method)
    assert np.isfinite(found.logits).all()
    if method in {"mean", "weighted", "greedy"}:
        temperature = 1 if method == "mean" else fit_temperature(logits["low"], labels)
        expected = log_softmax(logits["low"].astype(np.float64) / temperature, axis=1)
        np.testing.assert_allclose(ensemble_logits(found.ensemble, equal), expected)
        weights = describe_ensemble(found.ensemble, method=method, n_folds=0)["weights"]
        assert sum(weights.values()) == pytest.approx(1)


def test_the_metrics_of_a_stack_by_hand():
    labels = np.array([0, 1, 0, 1])
    logits = {
        "a": np.array([[4, 0], [4, 0], [4, 0], [4, 0]], float),  # right on 2
        "b": np.array([[0, 1], [0, 1], [1, 0], [0, 1]], float),  # right on 3
    }
    metrics = stack_metrics(logits, np.eye(2)[labels], labels, folds=labels)
    low, high = metrics.pop("gain_ci95")
    mean_low, mean_high = metrics.pop("gain_of_mean_ci95")
    assert metrics == {
        "validation_accuracy": 1.0,
        "best_member": "b",
        "best_member_accuracy": 0.75,
        "mean_accuracy": 0.5,  # "a" is surer
        "gain": 0.25,
        "gain_of_mean": -0.25,
        "n_images": 4,
    }
    # Of four images and two added ones the stack alone is right on 1 + 1, and the member on 0 + 1.
    half = norm.ppf(0.975) * np.sqrt((3 / 6 - (1 / 6) ** 2) / 6)
    assert (low, high) == (pytest.approx(1 / 6 - half), pytest.approx(1 / 6 + half))
    assert -1 <= mean_low <= -0.25 <= mean_high <= 1


def test_with_several_labels_the_metrics_of_a_stack_are_micro_f1_by_hand():
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    logits = {
        "a": np.array([[1, -1], [-1, 1], [1, -1], [-1, -1]], float),  # 3 of 4, none wrong
        "b": np.array([[1, 1], [1, 1], [1, 1], [1, 1]], float),  # all of 4, 4 wrong
    }
    folds = np.array([0, 0, 1, 1])
    metrics = stack_metrics(logits, labels - 0.5, labels, folds=folds)
    assert metrics["best_member"] == "a"
    assert metrics["best_member_micro_f1"] == pytest.approx(2 * 3 / (3 + 4))
    assert metrics["validation_micro_f1"] == 1.0
    assert metrics["gain"] == pytest.approx(1 / 7)
    assert metrics["n_images"] == 4


@pytest.mark.parametrize(
    ("folds", "predicted"),
    [
        # Positives have logits of 3 in fold 0 and -2 in fold 1: no threshold suits both folds.
        ([0, 0, 1, 1], [[1, 1], [1, 1], [0, 0], [0, 0]]),
        ([0, 0, 0, 0], [[1, 0], [0, 1], [0, 0], [0, 0]]),  # one fold: at a half
    ],
)
def test_thresholds_of_the_score_are_fitted_on_the_other_folds(folds, predicted):
    labels = np.array([[1, 0], [0, 1], [1, 0], [0, 1]])
    logits = np.where(labels, 3.0, -1.0)
    logits[2:] -= 5
    metrics = stack_metrics({"a": logits}, logits, labels, folds=np.array(folds))
    expected = micro_f1(np.array(predicted, bool), labels)
    assert metrics["validation_micro_f1"] == pytest.approx(expected)


def test_the_best_member_is_the_first_listed_in_case_of_a_tie():
    logits = {"b": np.array([[1.0, 0.0]]), "a": np.array([[2.0, 0.0]])}
    one = np.array([0])
    metrics = stack_metrics(logits, logits["a"], one, folds=one)
    assert metrics["best_member"] == "b"
    assert metrics["gain_ci95"][0] == -metrics["gain_ci95"][1] < 0


def test_an_ensemble_is_described_with_the_weight_of_each_member():
    logits, labels = logits_and_labels(60)
    ensemble = fit_ensemble(logits, labels, method="mean", settings={}, seed=1).ensemble
    assert describe_ensemble(ensemble, method="mean", n_folds=5) == {
        "method": "mean",
        "fitted_on": "train",
        "members": ["low", "high"],
        "n_members": 2,
        "weights": {"low": 0.5, "high": 0.5},
    }


def test_logits_of_different_images_are_refused(tmp_path):
    files = {name: tmp_path / f"{name}.npz" for name in "ab"}
    for name, ids in (("a", ["1", "2"]), ("b", ["1", "3"])):
        found = Logits(np.array(ids), np.array([0, 1]), np.zeros((2, 2), np.float32))
        save_logits(files[name], found)
    assert read_member_logits({"a": files["a"]}).ids == ["1", "2"]
    with pytest.raises(UserError, match=r"b.npz.*images.*a.npz.*dvc repro"):
        read_member_logits(files)


@pytest.mark.parametrize("several", [False, True])
def test_images_of_a_group_are_in_one_fold_of_cross_fitting(several):
    _, labels = logits_and_columns(60) if several else logits_and_labels(60)
    ids = [str(i) for i in range(60)]
    groups = {image_id: f"g{i // 3}" for i, image_id in enumerate(ids)}
    folds = assign_folds(MemberLogits(ids, labels, {}), groups, n_folds=5, seed=1)
    assert (folds.reshape(20, 3) == folds[::3, None]).all()
    assert set(folds) == set(range(5))
    folds = assign_folds(MemberLogits(ids, labels, {}), groups, n_folds=30, seed=1)
    assert set(folds) == set(range(20))  # as many as there are groups


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_images", [1, 2, 3])
def test_an_ensemble_of_few_images_is_fitted_or_the_mean_and_says_so(method, n_images, capsys):
    logits, labels = logits_and_labels(n_images)
    found = cross_fit(logits, labels, method=method)
    description = describe_ensemble(found.ensemble, method=method, n_folds=0)
    assert np.isfinite(found.logits).all()
    assert "images in" in capsys.readouterr().out
    if n_images == 1:
        np.testing.assert_array_equal(
            found.logits, mean_logits(list(logits.values()), task="single")
        )
        assert found.ensemble.method == "mean"
        assert method == "mean" or "too few images" in description["reason"]
    else:
        assert found.ensemble.method == method
        assert "reason" not in description


def member_logits(letter, logits, labels):
    return MemberLogits([f"{letter}{i}" for i in range(len(labels))], labels, logits)


EVALUATE = {"prediction_sets": {"levels": [0.9]}, "abstention": {"accuracies": []}}


def fitted_stack(validation, *others, groups):
    """A stack that is fitted on validation images, or on those of train."""
    settings = SETTINGS | {"method": "logistic", "seed": 1, "inner_folds": 4}
    groups = {image_id: image_id for image_id in groups}
    return fit_stack(validation, *others, groups=groups, settings=settings, evaluate=EVALUATE)


def test_a_stack_is_scored_by_logits_of_images_that_it_was_not_fitted_on():
    (logits, labels), (train_logits, train_labels) = (
        logits_and_labels(),
        logits_and_labels(120, seed=1),
    )
    validation = member_logits("v", logits, labels)
    train = member_logits("t", train_logits, train_labels)
    groups = validation.ids + train.ids

    alone = fitted_stack(validation, None, groups=groups)
    np.testing.assert_array_equal(alone.logits, alone.out_of_fold)
    in_sample = ensemble_logits(alone.ensemble, logits)
    assert not np.allclose(alone.logits, in_sample)
    temperature = fit_decision(alone.out_of_fold, labels)["temperature"]
    assert alone.decision["temperature"] == temperature
    assert temperature != fit_decision(in_sample, labels)["temperature"]

    stack = fitted_stack(validation, train, groups=groups)
    np.testing.assert_array_equal(stack.logits, ensemble_logits(stack.ensemble, logits))
    assert stack.out_of_fold.shape == (120, 4)
    assert stack.folds.tolist() == alone.folds.tolist()
    for fitted, of_images, split in ((alone, labels, "validation"), (stack, train_labels, "train")):
        # The sets are calibrated on the images that the stack was fitted on, out of fold.
        assert fitted.decision == fit_uncertainty(
            fit_decision(fitted.logits, labels),
            fitted.out_of_fold,
            of_images,
            settings=EVALUATE,
            split=split,
        )
        assert fitted.decision["n_calibration_images"] == len(of_images)


def test_the_sets_of_a_stack_are_calibrated_on_the_calibration_split():
    (logits, labels), (other, of_other) = logits_and_labels(), logits_and_labels(40, seed=2)
    validation, calibration = (
        member_logits("v", logits, labels),
        member_logits("c", other, of_other),
    )
    alone, stack = (
        fitted_stack(validation, None, each, groups=validation.ids) for each in (None, calibration)
    )
    np.testing.assert_array_equal(stack.logits, alone.logits)
    assert stack.decision == fit_uncertainty(
        fit_decision(stack.logits, labels),
        ensemble_logits(stack.ensemble, other),
        of_other,
        settings=EVALUATE,
        split="calibration",
    )
