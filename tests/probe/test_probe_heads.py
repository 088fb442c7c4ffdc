"""Probes: logistic regression and nearest neighbors on the features of a frozen body."""

import numpy as np
import pytest
import torch
from probes import LOGISTIC, NEIGHBORS, features_of, logits_of, reference_regression
from sklearn.neighbors import KNeighborsClassifier

from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.fitted_head import TEMPERATURE, NearestNeighbors
from classifold.training.logistic_head import LOWEST_LOGIT, LogisticRegressions


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_linear_head_is_the_logistic_regression_of_scikit_learn(
    draw_pack, new_probe, fit_probe, n_classes
):
    pack = draw_pack(60, n_classes=n_classes)
    validation = draw_pack(24, n_classes=n_classes, seed=1)
    network = new_probe(n_classes)
    fitted = fit_probe(network, pack, validation, {"name": "logistic", "c": 0.1})
    reference = reference_regression(0.1).fit(features_of(network, pack), pack.labels)
    expected = reference.predict_proba(features_of(network, validation))
    found = torch.from_numpy(logits_of(network, validation)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=0.002)
    assert fitted.phases["head"]["c"] == 0.1
    n_parameters = n_classes * (network.head.in_features + 1)
    assert fitted.phases["head"]["n_trainable_parameters"] == n_parameters


def test_each_of_several_labels_has_a_logistic_regression(draw_multi_pack, new_probe, fit_probe):
    pack = draw_multi_pack(40)
    pack.labels[:, 2] = 1  # on every image: there is nothing to learn
    network = new_probe()
    fitted = fit_probe(network, pack, draw_multi_pack(16, seed=1), {"name": "logistic", "c": 0.1})
    features = features_of(network, pack)
    found = torch.from_numpy(logits_of(network, pack)).sigmoid().numpy()
    for label in range(2):
        reference = reference_regression(0.1).fit(features, pack.labels[:, label])
        expected = reference.predict_proba(features)[:, 1]
        np.testing.assert_allclose(found[:, label], expected, atol=0.01)
    np.testing.assert_allclose(found[:, 2], 40.5 / 41, atol=1e-6)
    assert "validation_micro_f1" in fitted.phases["head"]


@pytest.mark.parametrize("head", [{"name": "logistic", "c": 0.1}, NEIGHBORS])
def test_a_single_label_of_images_that_may_have_none_is_learned(
    draw_multi_pack, new_probe, fit_probe, head
):
    pack = draw_multi_pack(40)
    pack = pack._replace(labels=pack.labels[:, :1], classes=pack.classes[:1])
    network = new_probe(1)
    fit_probe(network, pack, pack, head)
    assert ((logits_of(network, pack) > 0) == (pack.labels > 0)).mean() > 0.9


def test_a_class_without_training_images_is_never_predicted(draw_pack, new_probe, fit_probe):
    pack = draw_pack(40)
    two = pack.subset(np.flatnonzero(pack.labels != 1))
    network = new_probe()
    fit_probe(network, two, pack, {"name": "logistic", "c": 0.1})
    logits = logits_of(network, pack)
    assert set(logits.argmax(1)) == {0, 2}
    assert (logits[:, 1] == LOWEST_LOGIT).all()


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_neighbors_are_those_of_scikit_learn(draw_pack, new_probe, fit_probe, k):
    pack, validation = draw_pack(60), draw_pack(24, seed=1)
    network = new_probe()
    fitted = fit_probe(network, pack, validation, {"name": "neighbors", "k": k})
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda d: np.exp(-d / TEMPERATURE)
    ).fit(features_of(network, pack).astype(np.float64), pack.labels)
    votes = reference.predict_proba(features_of(network, validation).astype(np.float64))
    found = torch.from_numpy(logits_of(network, validation)).softmax(1).numpy()
    # The weight of the last one counts once more, equally for all classes.
    assert np.abs(found - votes).max() <= 1 / (k + 1)
    certain = np.sort(votes, axis=1)[:, -1] - np.sort(votes, axis=1)[:, -2] > 1e-3
    assert certain.sum() > 15
    assert (found.argmax(1) == votes.argmax(1))[certain].all()
    assert fitted.phases["head"]["k"] == k


def test_the_logits_of_nearest_neighbors_by_hand():
    features = torch.tensor([[1.0, 0.0], [3.0, 3.0], [0.0, 2.0]])
    labels = torch.tensor([[1, 0], [0, 1], [1, 1]])
    query = torch.tensor([[2.0, 0.0]])  # similarities 1, sqrt(1/2), 0
    near = float(np.exp((np.sqrt(0.5) - 1) / TEMPERATURE))
    single = NearestNeighbors(features, labels, neighbors=2, task="single")(query)
    expected = [np.log(1 + near / 2), np.log(near + near / 2)]
    assert single[0].tolist() == pytest.approx(expected, rel=1e-4)
    multi = NearestNeighbors(features, labels, neighbors=2, task="multi")(query)
    odds = [(1 + near / 2) / (near + near / 2), (near + near / 2) / (1 + near / 2)]
    assert multi[0].tolist() == pytest.approx(np.log(odds), rel=1e-4)


def test_features_that_do_not_fit_into_the_memory_are_an_error(
    draw_pack, new_probe, fit_probe, monkeypatch
):
    monkeypatch.setattr("classifold.training.probe.MAX_FRACTION_OF_MEMORY", 1e-9)
    with pytest.raises(UserError, match=r"head: .*9 images and variants.*augment\.warped"):
        fit_probe(new_probe(), draw_pack(9), draw_pack(9), LOGISTIC)


def test_features_that_are_nan_are_an_error(draw_pack, new_probe, fit_probe):
    network = new_probe()
    for parameter in network.backbone.parameters():
        parameter.data.fill_(3e38)  # as when the precision is too low: finite, but not the features
    with pytest.raises(UserError, match=r"arguments: .*got NaN or infinity for 9 of 9"):
        fit_probe(network, draw_pack(9), draw_pack(9), LOGISTIC)


def test_the_body_is_not_changed_and_a_second_head_reads_no_image(
    draw_pack, new_probe, fit_probe, monkeypatch
):
    pack, validation = draw_pack(30), draw_pack(24, seed=1)
    first = new_probe()
    fit_probe(first, pack, validation, LOGISTIC)
    monkeypatch.setattr("classifold.models.feature_cache.predict_features", None)
    second = new_probe()
    fit_probe(second, pack, validation, NEIGHBORS)
    fresh = new_probe().backbone.state_dict()
    for network in (first, second):
        for name, tensor in network.backbone.state_dict().items():
            assert torch.equal(tensor, fresh[name]), name


def test_without_room_for_files_features_are_kept_in_memory(
    draw_pack, new_probe, fit_probe, tmp_path, capsys
):
    pack, networks = draw_pack(30), [new_probe(), new_probe()]
    for network, cache in zip(networks, [FeatureCache(tmp_path, max_bytes=9), None], strict=True):
        fit_probe(network, pack, pack, LOGISTIC, cache=cache)
    assert "features are kept in memory" in capsys.readouterr().out
    assert torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_more_neighbors_than_images_is_an_error(draw_pack, new_probe, fit_probe):
    with pytest.raises(UserError, match=r"head\.k: must be at most 8, .*, got 9"):
        fit_probe(new_probe(), draw_pack(8), draw_pack(8), {"name": "neighbors", "k": [3, 9]})


def test_equal_features_of_all_images_give_the_class_proportions():
    labels = np.eye(2)[[0, 0, 0, 0, 1, 1]]
    layer = LogisticRegressions(np.ones((6, 9), np.float16), labels, task="single").fit(1.0)
    probabilities = layer(torch.ones(1, 9)).softmax(1)
    torch.testing.assert_close(probabilities, torch.tensor([[2 / 3, 1 / 3]]), rtol=1e-3, atol=1e-3)
