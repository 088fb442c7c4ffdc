"""How the head of a probe is chosen: by validation, by cross-validation, and out of fold."""

import numpy as np
import pytest
import torch
from probes import LOGISTIC, config_of, features_of, logits_of, reference_regression
from sklearn.multiclass import OneVsRestClassifier

from classifold.data.pack import join
from classifold.errors import UserError
from classifold.training.probe import _assign_folds, out_of_fold_logits
from classifold.training.scores import score_logits


@pytest.mark.parametrize(
    ("head", "key"), [(LOGISTIC, "c"), ({"name": "neighbors", "k": [25, 1, 3]}, "k")]
)
def test_the_candidate_with_the_best_validation_score_is_kept(
    draw_pack, new_probe, fit_probe, head, key
):
    pack, validation = draw_pack(30), draw_pack(30, seed=1)
    validation = validation._replace(labels=(validation.labels + 1) % 3)  # so that scores differ
    network = new_probe()
    fitted = fit_probe(network, pack, validation, head)
    summary = fitted.phases["head"]
    tried = summary["tried"]
    assert list(tried) == [f"{value:g}" for value in sorted(head[key])]
    scores = {
        name: (columns["validation_accuracy"], -columns["validation_loss"])
        for name, columns in tried.items()
    }
    assert len(set(scores.values())) > 1
    assert f"{summary[key]:g}" == max(scores, key=scores.get)
    logits = logits_of(network, validation)
    score = score_logits(logits, validation.labels, loss={"name": "cross_entropy"})
    assert score.loss == pytest.approx(summary["validation_loss"], abs=0.01)
    assert fitted.history[0]["validation_loss"] == summary["validation_loss"]


def by_folds(head):
    return head | {"choose_by": "cross_validation"}


def with_variants(pack, groups=()):
    """Add a noisy variant of each image, after all images."""
    noise = np.random.default_rng(0).integers(-9, 10, pack.images.shape)
    noisy = (pack.images.astype(int) + noise).clip(0, 255).astype(np.uint8)
    variants = pack._replace(images=noisy, variants=np.ones(len(noisy), np.int32))
    return join(pack._replace(groups=groups), variants._replace(groups=groups))


@pytest.mark.parametrize("task", ["single", "multi"])
def test_cross_validation_chooses_c_as_scikit_learn_does(draw_of_task, new_probe, fit_probe, task):
    first = np.repeat(np.arange(20), 2)  # each image has a duplicate
    plain = draw_of_task(task, 20).subset(first)
    plain = plain._replace(images=plain.images[:], ids=[str(number) for number in range(40)])
    pack, network = with_variants(plain, [str(number) for number in first]), new_probe()
    candidates = [0.00001, 0.001, 1.0]
    head = by_folds({"name": "logistic", "c": candidates})
    fitted = fit_probe(network, pack, draw_of_task(task, 24, seed=1), head)

    folds = _assign_folds(pack, seed=1)
    assert len(np.unique(folds)) == 5
    for name in (pack.ids, pack.groups):
        assert len(set(zip(name, folds.tolist(), strict=True))) == len(set(name))

    inputs, losses = features_of(network, pack), {}
    for c in candidates:
        model = (
            reference_regression(c)
            if task == "single"
            else OneVsRestClassifier(reference_regression(c))
        )
        probabilities = np.zeros((80, 3))
        for fold in range(5):
            model.fit(inputs[folds != fold], pack.labels[folds != fold])
            probabilities[folds == fold] = model.predict_proba(inputs[folds == fold])
        originals = probabilities[:40]
        right = (
            originals[np.arange(40), plain.labels]
            if task == "single"
            else np.where(plain.labels, originals, 1 - originals)
        )
        losses[c] = -np.log(right).mean()
    tried = fitted.phases["head"]["tried"]
    for c, loss in losses.items():
        assert tried[f"{c:g}"]["cross_validation_loss"] == pytest.approx(loss, abs=0.01)
    chosen = fitted.phases["head"]["c"]
    if task == "multi":
        assert chosen == min(losses, key=losses.get)
    else:
        assert tried[f"{chosen:g}"]["cross_validation_accuracy"] == max(
            columns["cross_validation_accuracy"] for columns in tried.values()
        )
    with_validation = {c for c, columns in tried.items() if "validation_loss" in columns}
    assert with_validation == {f"{chosen:g}"}  # validation images were not used for the choice


def test_cross_validation_chooses_the_number_of_neighbors(draw_pack, new_probe, fit_probe):
    pack = draw_pack(30)
    # Of a variant of itself, an image would have the nearest neighbor with its wrong label.
    labels = np.where(np.arange(30) % 5 == 0, (pack.labels + 1) % 3, pack.labels)
    pack = with_variants(pack._replace(labels=labels))
    head = by_folds({"name": "neighbors", "k": [1, 9]})
    summary = fit_probe(new_probe(), pack, draw_pack(24, seed=1), head).phases["head"]
    first, second = (summary["tried"][k]["cross_validation_accuracy"] for k in ("1", "9"))
    assert second > first
    assert summary["k"] == 9


def test_cross_validation_and_out_of_fold_logits_need_two_groups(draw_pack, new_probe, fit_probe):
    pack, network = draw_pack(6)._replace(groups=["a"] * 6), new_probe()
    with pytest.raises(UserError, match=r"head\.choose_by: .*got 6 training images"):
        fit_probe(network, pack, pack, by_folds(LOGISTIC))
    single = by_folds({"name": "logistic", "c": 0.1})  # there is nothing to choose
    fitted = fit_probe(network, pack, pack, single)
    assert fitted.phases["head"]["c"] == 0.1
    config = config_of(pack, single)
    assert out_of_fold_logits(network, fitted.body, pack, config=config) is None


def test_out_of_fold_logits_are_those_of_a_head_fitted_without_the_fold(
    draw_pack, new_probe, fit_probe
):
    first = np.repeat(np.arange(20), 2)  # each image has a duplicate
    plain = draw_pack(20).subset(first)
    groups, ids = [str(row) for row in first], [str(number) for number in range(40)]
    plain = plain._replace(images=plain.images[:], ids=ids, groups=groups)
    plain.labels[38:] = 3  # the only group of its class
    pack = with_variants(plain._replace(classes=[*plain.classes, "rare"]), groups)
    network, head = new_probe(4), {"name": "logistic", "c": 0.1}
    fitted = fit_probe(network, pack, pack, head)
    kept = network.head
    config = config_of(pack, head)
    found = out_of_fold_logits(network, fitted.body, pack, config=config)
    assert network.head is kept
    assert found.ids.tolist() == ids
    np.testing.assert_array_equal(found.labels, plain.labels)

    folds, inputs = _assign_folds(plain, seed=1), features_of(network, plain)
    rare = plain.labels == 3
    assert np.isnan(found.logits[rare]).all() and np.isfinite(found.logits[~rare]).all()
    for fold in np.unique(folds[~rare]):
        rest, held_out = folds != fold, (folds == fold) & ~rare
        model = reference_regression(0.1).fit(inputs[rest], plain.labels[rest])
        expected = model.predict_proba(inputs[held_out])
        probabilities = torch.from_numpy(found.logits[held_out]).softmax(1).numpy()
        np.testing.assert_allclose(probabilities[:, model.classes_], expected, atol=0.01)
