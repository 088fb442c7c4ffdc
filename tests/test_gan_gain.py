"""What generated images add to a training: honest folds, resuming, and the gain by hand."""

import copy

import numpy as np
import pytest
import torch

from classifold.errors import UserError
from classifold.gan import added_images
from classifold.gan.added_images import Classifier, Gan, HeldOutPredictions, add_generated
from classifold.gan.gain import compare
from classifold.gan.loop import fit_gan
from classifold.models.model_file import new_network
from interruptions import Stopped, stopping_at_call
from shared_fixtures import with_variants
from test_gan import SMALL
from tiny_model import MODEL, NO_POLICY, PHASE, config_of


def run_added(
    pack, machine, folder, *, config=SMALL, generated_per_real=1.0, variants=False, n_folds=3
):
    n_images = len(pack.originals().labels)
    settings = {name: MODEL[name] for name in ("image_size", "arguments")}
    network = new_network("mlp", n_classes=3, seed=1, **settings)
    training = config_of(pack, phases={"p1": PHASE | {"epochs": 2}})
    return add_generated(
        pack,
        np.arange(n_images) // 3 % n_folds + 1,
        gan=Gan(config._replace(epochs=1), NO_POLICY, variants, {"rows": 3, "columns": 2}),
        classifier=Classifier(network, training, NO_POLICY),
        generated_per_real=generated_per_real,
        seed=1,
        machine=machine,
        checkpoints=folder,
        key="key",
    )


@pytest.fixture
def training_runs(monkeypatch):
    """The arguments of each training run: (GAN or model, images, validation, first weights)."""
    seen = []

    def fit_gan_watched(train, **settings):
        seen.append(("gan", train, None, None))
        return fit_gan(train, **settings)

    def fit_watched(network, train, validation, **settings):
        weights = copy.deepcopy(network.state_dict())
        seen.append(("model", train, validation, weights))
        return real_fit(network, train, validation, **settings)

    real_fit = added_images.fit
    monkeypatch.setattr(added_images, "fit_gan", fit_gan_watched)
    monkeypatch.setattr(added_images, "fit", fit_watched)
    return seen


@pytest.mark.parametrize("variants", [False, True])
def test_no_training_uses_images_of_the_held_out_fold(
    draw_pack, machine, tmp_path, training_runs, variants
):
    pack = with_variants(draw_pack(36), 1)
    predictions = run_added(pack, machine, tmp_path, variants=variants)
    assert set(predictions.predicted) == {"repeated", "generated", "augmented"}
    ids = np.array(pack.originals().ids)
    for fold in (1, 2, 3):
        gan, *models = training_runs[4 * (fold - 1) : 4 * fold]
        held_out = set(ids[predictions.folds == fold])
        selecting = set(ids[predictions.folds == fold % 3 + 1])
        assert set(gan[1].ids) == set(ids) - held_out - selecting
        assert set(gan[1].variants) == ({0, 1} if variants else {0})
        for _, train, validation, _ in models:
            real = {name for name in train.ids if not name.startswith("generated/")}
            assert real == set(gan[1].ids)
            assert set(validation.ids) == selecting
            assert set(validation.variants) == {0}


def test_kinds_differ_only_in_the_source_of_added_images(
    draw_pack, machine, tmp_path, training_runs
):
    run_added(with_variants(draw_pack(36), 1), machine, tmp_path, generated_per_real=0.5)
    models = [entry for entry in training_runs if entry[0] == "model"]
    assert len(models) == 9
    for _, train, _, weights in models:
        assert len(train.labels) == 12 + 6
        assert all(torch.equal(weights[name], models[0][3][name]) for name in weights)
    repeated, generated, augmented = (train for _, train, *_ in models[:3])
    assert len(set(repeated.ids)) == 12  # the added images are repetitions
    assert (repeated.variants == 0).all()
    assert set(augmented.variants[12:]) == {1}
    assert sum(name.startswith("generated/") for name in generated.ids) == 6
    assert (generated.images[:12] == repeated.images[:12]).all()


def test_an_interrupted_comparison_resumes_in_the_same_fold(
    draw_pack, machine, tmp_path, monkeypatch, capsys
):
    pack = draw_pack(36)
    whole = run_added(pack, machine, tmp_path / "whole")
    monkeypatch.setattr(added_images, "fit", stopping_at_call(4, added_images.fit))
    with pytest.raises(Stopped):
        run_added(pack, machine, tmp_path / "cut")
    capsys.readouterr()
    resumed = run_added(pack, machine, tmp_path / "cut")
    output = capsys.readouterr().out
    assert "fold 1/3: finished before the interruption" in output
    assert "resuming after epoch" in output
    for kind, predicted in whole.predicted.items():
        assert predicted.tolist() == resumed.predicted[kind].tolist()


def test_adding_needs_a_conditional_gan_and_one_label_per_image(
    draw_pack, draw_multi_pack, machine, tmp_path
):
    unconditional = SMALL._replace(conditional=False)
    for pack, config in ((draw_pack(36), unconditional), (draw_multi_pack(36), SMALL)):
        message = r"(?s)add_generated: .*Set train_gan.conditional to true"
        with pytest.raises(UserError, match=message):
            run_added(pack, machine, tmp_path, config=config)


def test_gains_by_hand():
    labels = np.zeros(8, int)
    predicted = {
        "repeated": np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        "generated": np.array([0, 0, 0, 1, 0, 0, 1, 1]),
    }
    folds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    compared = compare(HeldOutPredictions(folds, predicted), labels)
    repeated, generated = compared["repeated"], compared["generated"]
    assert (repeated["accuracy"], repeated["accuracy_by_fold"]) == (0.5, [1.0, 0.0])
    assert "gain" not in repeated
    assert (generated["accuracy"], generated["gain"]) == (5 / 8, pytest.approx(1 / 8))
    assert generated["gain_p_value"] == 1.0  # two to one
    low, high = generated["gain_ci95"]
    assert low < 0 < 1 / 8 < high
    equal = predicted | {"generated": predicted["repeated"]}
    same = compare(HeldOutPredictions(folds, equal), labels)
    low, high = same["generated"]["gain_ci95"]
    assert low == -high < 0  # other images may tell the two apart
