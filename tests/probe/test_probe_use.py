"""A probe is saved, explained, exported, folded, refitted, checked and searched like a network."""

import shutil

import numpy as np
import pytest
import torch
from probes import CPU, LOGISTIC, NAME, NEIGHBORS, SIZE, build_probe, config_of, logits_of

from classifold.analysis.explain.saliency import explain_class
from classifold.data.pack import join
from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_logits
from classifold.models.model_file import load_model, save_model
from classifold.search.trial import run_trial
from classifold.serving.export import export_onnx
from classifold.serving.predict import Classifier
from classifold.training.folds import fit_folds
from classifold.training.loop import fit, refit
from classifold.training.setup import Training
from classifold.training.try_model import describe_weights_mismatch, try_model
from tiny_model import NO_POLICY


@pytest.fixture(params=[LOGISTIC, NEIGHBORS], ids=["logistic", "neighbors"])
def saved(request, tmp_path, probe_weights, fit_probe, draw_of_task):
    """Save a probe of a task in a folder; images and their logits."""

    def save(task):
        network, pack, folder = (
            build_probe(probe_weights),
            draw_of_task(task, 20),
            tmp_path / "saved",
        )
        fit_probe(network, pack, pack, request.param)
        folder.mkdir()
        save_model(
            folder,
            network,
            network="probe",
            arguments={"name": NAME, "weights": probe_weights},
            classes=["cat", "dog", "owl"],
            preprocessing={"pack_size": 16, "resize": "lanczos", **SIZE},
            training={"task": task, "threads": 1},
        )
        return folder, pack.images, logits_of(network, pack)

    return save


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_probe_is_loaded_as_it_was_saved(saved, probe_weights, task):
    folder, images, expected = saved(task)
    model = load_model(folder)
    logits = predict_logits(model.network, images, device=CPU, **SIZE)
    np.testing.assert_array_equal(logits, expected)
    assert model.description["weights"]["sha256"] == probe_weights["sha256"]


def test_a_probe_is_explained(saved):
    maps = explain_class(
        load_model(saved("single")[0]).network,
        torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32),
        1,
        smooth_samples=1,
        smooth_noise=0.1,
        integrated_steps=2,
        occluded_fraction=0.5,
        seed=1,
    )
    for name in ("saliency", "grad_cam"):
        found = getattr(maps, name)
        assert np.isfinite(found).all()
        assert found.max() > 0


@pytest.mark.slow  # the exporter takes seconds
@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_stack_with_a_probe_is_one_onnx_file(saved, project, draw_pack, tmp_path, task):
    root = project(task, method="mean")
    shutil.rmtree(root / "models/deep")
    saved(task)[0].rename(root / "models/deep")
    classifier = Classifier.load(root)
    assert "backbone" in dict(classifier.members["deep"].network.named_children())
    path = tmp_path / "exported/model.onnx"
    exported = export_onnx(path, classifier, draw_pack(20, size=16).images)
    assert exported.max_difference < 1e-4
    assert list(path.parent.iterdir()) == [path]


def test_probes_predict_folds_that_they_were_not_fitted_on(
    draw_pack, new_probe, fit_probe, machine, tmp_path
):
    pack, validation = draw_pack(30), draw_pack(12, seed=1)
    folds = np.arange(30) % 2 + 1
    for head in (LOGISTIC, NEIGHBORS):
        training = Training(
            new_probe(),
            pack,
            validation,
            config_of(pack, head),
            machine,
            precision="fp32",
            cache=FeatureCache(tmp_path / "features"),
            settings={},
            model={},
        )
        logits, best_epochs = fit_folds(
            training, folds=folds, policy=NO_POLICY, checkpoints=tmp_path / head["name"], key="0"
        )
        assert best_epochs == [1, 1]
        network = new_probe()
        fit_probe(network, pack.subset(np.flatnonzero(folds != 1)), validation, head, cache=None)
        expected = logits_of(network, pack.subset(np.flatnonzero(folds == 1)))
        np.testing.assert_allclose(logits[folds == 1], expected, atol=0.02)
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_a_refit_uses_the_chosen_candidate_and_all_images(
    draw_pack, new_probe, fit_probe, machine, tmp_path
):
    pack, validation = draw_pack(30), draw_pack(12, seed=1)
    fitted = fit_probe(new_probe(), pack, validation, LOGISTIC)
    config = config_of(pack, LOGISTIC).as_trained(fitted.phases)
    assert config.head == LOGISTIC | {"c": fitted.phases["head"]["c"]}
    network, expected, both = new_probe(), new_probe(), join(pack, validation)
    work = {"config": config, "policy": NO_POLICY, "machine": machine}
    cache = FeatureCache(tmp_path / "features")
    (row,) = refit(network, both, recorded=fitted.history, cache=cache, **work)
    assert not [name for name in row if name.startswith("validation")]
    fit(expected, both, both, **work)
    np.testing.assert_allclose(logits_of(network, both), logits_of(expected, both), atol=0.05)


def test_check_builds_a_probe(probe_weights):
    model = {
        "network": "probe",
        "arguments": {"name": NAME, "weights": probe_weights},
        "image_size": 32,
        "normalize": "half",
        "online": "none",
        "seed": 1,
        "loss": {"name": "cross_entropy"},
        "head": LOGISTIC,
    }
    try_model("probe", model)
    assert not [line for line in describe_weights_mismatch(model) if "arguments.weights" in line]
    (line,) = describe_weights_mismatch(model | {"arguments": {"name": NAME}})
    assert line.startswith("arguments.weights: ")
    with pytest.raises(UserError, match=r"models\.probe\.arguments\.name: .*got 'test_nothing'"):
        try_model("probe", model | {"arguments": {"name": "test_nothing"}})


def test_a_search_scores_heads_of_a_probe(probe_weights, tmp_path, monkeypatch, write_packs):
    monkeypatch.chdir(tmp_path)
    packs = write_packs(tmp_path / "packs", train=30, validation=12)
    model = {"network": "probe", "arguments": {"name": NAME, "weights": probe_weights}, **SIZE}
    settings = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
    params = {"train": settings, "policies": {"none": NO_POLICY}}
    rows = []
    for c in (0.0001, 0.1):
        head = {"head": {"name": "logistic", "c": c}, "online": "none", "seed": 1}
        models = {"models": {"probe": model | head}}
        outcome = run_trial(params | models, "probe", packs=packs, after_epoch=rows.append)
        assert (outcome.best_epoch, outcome.n_epochs) == (1, 1)
        assert rows[-1]["validation_loss"] == pytest.approx(outcome.validation.loss, abs=1e-6)
    assert rows[0]["validation_loss"] > rows[1]["validation_loss"] + 0.1
