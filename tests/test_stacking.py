"""Ensembles: the mean, the regression, the dense layers; and an honest score of each."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from classifold.errors import UserError
from classifold.stacking.dense import DenseStack, fit_dense
from classifold.stacking.ensemble import (
    cross_fit,
    ensemble_logits,
    load_ensemble,
    mean_logits,
    save_ensemble,
)
from classifold.stacking.report import stack_metrics

DENSE = {
    "hidden": [16],
    "dropout": 0.1,
    "lr": 0.01,
    "weight_decay": 0.01,
    "epochs": 30,
    "patience": 5,
}
FIT = {"inner_folds": 4, "dense": DENSE, "seed": 1}
METHODS = ["mean", "logistic", "dense"]


def members(n_images=160, *, n_classes=4, seed=0):
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


def accuracy(logits, labels):
    return (logits.argmax(axis=1) == labels).mean()


@given(st.integers(1, 4), st.integers(2, 5))
def test_the_mean_averages_probabilities(n_members, n_classes):
    random = np.random.default_rng(0)
    logits = [random.normal(0, 5, (6, n_classes)) for _ in range(n_members)]
    expected = np.mean([softmax(values, axis=1) for values in logits], axis=0)
    np.testing.assert_allclose(np.exp(mean_logits(logits)), expected)


def test_the_method_mean_is_the_mean_and_fits_nothing():
    logits, labels = members()
    fitted = cross_fit(logits, labels, method="mean", **FIT)
    expected = mean_logits(list(logits.values()))
    np.testing.assert_allclose(fitted.logits, expected)
    np.testing.assert_allclose(ensemble_logits(fitted.ensemble, logits), expected)
    assert fitted.ensemble.weights == {}


@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_method_logistic_is_scikit_learns_regression_on_log_probabilities(n_classes):
    logits, labels = members(n_classes=n_classes)
    fitted = cross_fit(logits, labels, method="logistic", **FIT)
    inputs = np.concatenate([log_softmax(v.astype(np.float64), axis=1) for v in logits.values()], 1)
    reference = LogisticRegression(max_iter=2000).fit(inputs, labels)
    probabilities = softmax(ensemble_logits(fitted.ensemble, logits), axis=1)
    np.testing.assert_allclose(probabilities, reference.predict_proba(inputs), atol=1e-4)


def test_a_class_without_a_fitting_image_is_never_answered():
    logits, labels = members()
    labels[labels == 3] = 2
    fitted = cross_fit(logits, labels, method="logistic", **FIT)
    found = softmax(ensemble_logits(fitted.ensemble, logits), axis=1)
    assert found.shape == (160, 4)
    assert found[:, 3].max() == 0


def test_dense_layers_start_as_the_mean_of_log_probabilities():
    logits, _ = members()
    inputs = torch.from_numpy(log_softmax(np.stack(list(logits.values()), 1), axis=2))
    stack = DenseStack(2, 4, hidden=[16, 8], dropout=0.0)
    assert torch.equal(stack(inputs), inputs.mean(1))


def test_dense_layers_that_must_not_train_stay_the_mean():
    logits, labels = members()
    inputs = log_softmax(np.stack(list(logits.values()), 1).astype(np.float64), axis=2)
    stack, n_epochs = fit_dense(inputs, labels, **DENSE | {"epochs": 0}, seed=1)
    assert n_epochs == 0
    found = stack(torch.from_numpy(inputs.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(found, inputs.mean(axis=1), rtol=1e-5)


def test_dense_layers_learn_whom_to_trust_and_beat_the_mean_on_new_images():
    logits, labels = members(400)
    new, new_labels = members(400, seed=9)
    scores = {}
    for method in ("mean", "dense"):
        ensemble = cross_fit(logits, labels, method=method, **FIT).ensemble
        found = log_softmax(ensemble_logits(ensemble, new), axis=1)
        scores[method] = -found[np.arange(400), new_labels].mean()
    assert scores["dense"] < scores["mean"] - 0.05


def test_without_patience_exactly_the_given_epochs_are_fitted():
    logits, labels = members(60)
    inputs = log_softmax(np.stack(list(logits.values()), 1).astype(np.float64), axis=2)
    _, n_epochs = fit_dense(inputs, labels, **DENSE | {"epochs": 7, "patience": None}, seed=1)
    assert n_epochs == 7


def test_early_stopping_ends_dense_layers_that_only_grow_worse():
    logits, _ = members(60)
    labels = np.random.default_rng(5).integers(0, 4, 60)  # nothing to learn
    inputs = log_softmax(np.stack(list(logits.values()), 1).astype(np.float64), axis=2)
    settings = DENSE | {"epochs": 1000, "patience": 3, "lr": 0.1}
    _, n_epochs = fit_dense(inputs, labels, **settings, seed=1)
    assert n_epochs < 20


@pytest.mark.parametrize("method", METHODS)
def test_the_score_of_an_ensemble_is_that_of_images_it_was_not_fitted_on(method):
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, 80)  # nothing to learn: the logits know no label
    logits = {f"m{i}": random.normal(0, 2, (80, 4)).astype(np.float32) for i in range(8)}
    settings = FIT | {"dense": DENSE | {"hidden": [64], "lr": 0.05, "dropout": 0.0}}
    fitted = cross_fit(logits, labels, method=method, **settings)
    assert accuracy(fitted.logits, labels) < 0.4
    if method == "logistic":  # what was fitted on all of them learned them by heart
        assert accuracy(ensemble_logits(fitted.ensemble, logits), labels) > 0.55


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_fits_the_same_ensemble(method):
    logits, labels = members(60)
    first, again = (cross_fit(logits, labels, method=method, **FIT) for _ in range(2))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert first.ensemble.weights.keys() == again.ensemble.weights.keys()
    for name, weights in first.ensemble.weights.items():
        np.testing.assert_array_equal(weights, again.ensemble.weights[name])


@pytest.mark.parametrize("method", METHODS)
def test_a_stored_ensemble_answers_as_the_fitted_one(tmp_path, method):
    logits, labels = members(60)
    ensemble = cross_fit(logits, labels, method=method, **FIT).ensemble
    save_ensemble(tmp_path, ensemble)
    loaded = load_ensemble(tmp_path)
    assert loaded.members == ["low", "high"]
    np.testing.assert_array_equal(
        ensemble_logits(loaded, logits), ensemble_logits(ensemble, logits)
    )


@pytest.mark.parametrize("method", METHODS)
def test_members_are_found_by_name_and_not_by_order(method):
    logits, labels = members(60)
    ensemble = cross_fit(logits, labels, method=method, **FIT).ensemble
    turned = {"stranger": logits["low"] * 0, "high": logits["high"], "low": logits["low"]}
    np.testing.assert_array_equal(
        ensemble_logits(ensemble, turned), ensemble_logits(ensemble, logits)
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_class_with_one_validation_image_is_no_obstacle(method):
    logits, labels = members(40)
    labels[:] = np.arange(40) % 3
    labels[0] = 3
    fitted = cross_fit(logits, labels, method=method, **FIT)
    assert np.isfinite(fitted.logits).all()


def test_a_member_whose_logits_are_no_numbers_is_named_with_advice():
    logits, labels = members()
    logits["high"][3, 1] = np.nan
    message = r"model 'high' has validation logits that are no numbers; .* out of stack.members"
    with pytest.raises(UserError, match=message):
        cross_fit(logits, labels, method="mean", **FIT)


def test_the_metrics_of_a_stack_by_hand():
    labels = np.array([0, 1, 0, 1])
    logits = {
        "a": np.array([[4, 0], [4, 0], [4, 0], [4, 0]], float),  # right on 2
        "b": np.array([[0, 1], [0, 1], [1, 0], [0, 1]], float),  # right on 3
    }
    stacked = np.eye(2)[labels]
    metrics = stack_metrics(logits, stacked, labels, method="dense", seed=1)
    low, high = metrics.pop("gain_ci95")
    assert metrics == {
        "method": "dense",
        "members": ["a", "b"],
        "n_members": 2,
        "validation_accuracy": 1.0,
        "best_member": "b",
        "best_member_accuracy": 0.75,
        "mean_accuracy": 0.5,  # "a" is surer
        "gain": 0.25,
        "n_images": 4,
    }
    assert 0 <= low <= 0.25 <= high <= 1


def test_of_equally_good_members_the_first_listed_is_best():
    logits = {name: np.array([[1.0, 0.0]]) for name in ("b", "a")}
    metrics = stack_metrics(logits, logits["a"], np.array([0]), method="mean", seed=1)
    assert metrics["best_member"] == "b"
    assert metrics["gain_ci95"] == [0, 0]
