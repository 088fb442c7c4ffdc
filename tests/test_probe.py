"""Probes: logistic regression and nearest neighbors on the features of a frozen body."""

import shutil
from functools import partial

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifold.analysis.explain.saliency import explain_class
from classifold.data.pack import join
from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.inference import predict_features, predict_logits
from classifold.models.model_file import load_model, new_network, save_model
from classifold.models.weights_file import sha256_of
from classifold.networks.probe import TEMPERATURE, NearestNeighbors
from classifold.search.trial import run_trial
from classifold.serving.export import export_onnx
from classifold.serving.predict import Classifier
from classifold.training.config import TrainingConfig
from classifold.training.folds import fit_folds
from classifold.training.loop import fit, refit
from classifold.training.probe import LOWEST_LOGIT, _assign_folds, out_of_fold_logits
from classifold.training.scores import score_logits
from classifold.training.setup import Training
from classifold.training.try_model import describe_weights_mismatch, try_model

NAME = "test_efficientnet"
SIZE = {"image_size": 32, "normalize": "half"}
CPU = torch.device("cpu")
NO_POLICY = {"steps": [], "fill": "reflect"}
LOGISTIC = {"name": "logistic", "c": [0.001, 0.1]}
NEIGHBORS = {"name": "neighbors", "k": 5}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with weights of timm's smallest network, and its hash."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model(NAME, pretrained=False).state_dict(), path)
    return {"file": str(path), "sha256": sha256_of(path)}


def build(weights, n_classes=3):
    arguments = {"name": NAME, "weights": weights}
    return new_network("probe", n_classes=n_classes, image_size=32, arguments=arguments, seed=1)


@pytest.fixture
def new_probe(weights):
    return partial(build, weights)


@pytest.fixture
def draw(draw_pack, draw_multi_pack):
    """A pack of a task."""

    def of_task(task, *arguments, **options):
        return (draw_pack if task == "single" else draw_multi_pack)(*arguments, **options)

    return of_task


@pytest.fixture
def fit_head(machine, tmp_path):
    features = FeatureCache(tmp_path / "features")

    def run(network, pack, validation, head, *, cache=features):
        work = {"config": config_of(pack, head), "policy": NO_POLICY, "machine": machine}
        return fit(network, pack, validation, cache=cache, **work)

    return run


def config_of(pack, head):
    loss = {"name": "cross_entropy" if pack.task == "single" else "binary_cross_entropy"}
    return TrainingConfig(seed=1, loss=loss, head=head, **SIZE)


def features_of(network, pack):
    return predict_features(network, pack.images, device=CPU, **SIZE).astype(np.float16)


def logits_of(network, pack):
    return predict_logits(network, pack.images, device=CPU, **SIZE)


def reference_regression(c):
    """The regression of scikit-learn that the linear head is to be."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_linear_head_is_the_logistic_regression_of_scikit_learn(
    draw_pack, new_probe, fit_head, n_classes
):
    pack = draw_pack(60, n_classes=n_classes)
    validation = draw_pack(24, n_classes=n_classes, seed=1)
    network = new_probe(n_classes)
    fitted = fit_head(network, pack, validation, {"name": "logistic", "c": 0.1})
    reference = reference_regression(0.1).fit(features_of(network, pack), pack.labels)
    expected = reference.predict_proba(features_of(network, validation))
    found = torch.from_numpy(logits_of(network, validation)).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=0.002)
    assert fitted.phases["head"]["c"] == 0.1
    n_parameters = n_classes * (network.head.in_features + 1)
    assert fitted.phases["head"]["n_trainable_parameters"] == n_parameters


def test_each_of_several_labels_has_a_logistic_regression(draw_multi_pack, new_probe, fit_head):
    pack = draw_multi_pack(40)
    pack.labels[:, 2] = 1  # on every image: there is nothing to learn
    network = new_probe()
    fitted = fit_head(network, pack, draw_multi_pack(16, seed=1), {"name": "logistic", "c": 0.1})
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
    draw_multi_pack, new_probe, fit_head, head
):
    pack = draw_multi_pack(40)
    pack = pack._replace(labels=pack.labels[:, :1], classes=pack.classes[:1])
    network = new_probe(1)
    fit_head(network, pack, pack, head)
    assert ((logits_of(network, pack) > 0) == (pack.labels > 0)).mean() > 0.9


def test_a_class_without_training_images_is_never_predicted(draw_pack, new_probe, fit_head):
    pack = draw_pack(40)
    two = pack.subset(np.flatnonzero(pack.labels != 1))
    network = new_probe()
    fit_head(network, two, pack, {"name": "logistic", "c": 0.1})
    logits = logits_of(network, pack)
    assert set(logits.argmax(1)) == {0, 2}
    assert (logits[:, 1] == LOWEST_LOGIT).all()


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_neighbors_are_those_of_scikit_learn(draw_pack, new_probe, fit_head, k):
    pack, validation = draw_pack(60), draw_pack(24, seed=1)
    network = new_probe()
    fitted = fit_head(network, pack, validation, {"name": "neighbors", "k": k})
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


@pytest.mark.parametrize(
    ("head", "key"), [(LOGISTIC, "c"), ({"name": "neighbors", "k": [25, 1, 3]}, "k")]
)
def test_the_candidate_with_the_best_validation_score_is_kept(
    draw_pack, new_probe, fit_head, head, key
):
    pack, validation = draw_pack(30), draw_pack(30, seed=1)
    validation = validation._replace(labels=(validation.labels + 1) % 3)  # so that scores differ
    network = new_probe()
    fitted = fit_head(network, pack, validation, head)
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
def test_cross_validation_chooses_c_as_scikit_learn_does(draw, new_probe, fit_head, task):
    first = np.repeat(np.arange(20), 2)  # each image has a duplicate
    plain = draw(task, 20).subset(first)
    plain = plain._replace(images=plain.images[:], ids=[str(number) for number in range(40)])
    pack, network = with_variants(plain, [str(number) for number in first]), new_probe()
    candidates = [0.00001, 0.001, 1.0]
    head = by_folds({"name": "logistic", "c": candidates})
    fitted = fit_head(network, pack, draw(task, 24, seed=1), head)

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


def test_cross_validation_chooses_the_number_of_neighbors(draw_pack, new_probe, fit_head):
    pack = draw_pack(30)
    # Of a variant of itself, an image would have the nearest neighbor with its wrong label.
    labels = np.where(np.arange(30) % 5 == 0, (pack.labels + 1) % 3, pack.labels)
    pack = with_variants(pack._replace(labels=labels))
    head = by_folds({"name": "neighbors", "k": [1, 9]})
    summary = fit_head(new_probe(), pack, draw_pack(24, seed=1), head).phases["head"]
    first, second = (summary["tried"][k]["cross_validation_accuracy"] for k in ("1", "9"))
    assert second > first
    assert summary["k"] == 9


def test_cross_validation_and_out_of_fold_logits_need_two_groups(draw_pack, new_probe, fit_head):
    pack, network = draw_pack(6)._replace(groups=["a"] * 6), new_probe()
    with pytest.raises(UserError, match=r"head\.choose_by: .*got 6 training images"):
        fit_head(network, pack, pack, by_folds(LOGISTIC))
    single = by_folds({"name": "logistic", "c": 0.1})  # there is nothing to choose
    fitted = fit_head(network, pack, pack, single)
    assert fitted.phases["head"]["c"] == 0.1
    config = config_of(pack, single)
    assert out_of_fold_logits(network, fitted.body, pack, config=config) is None


def test_out_of_fold_logits_are_those_of_a_head_fitted_without_the_fold(
    draw_pack, new_probe, fit_head
):
    first = np.repeat(np.arange(20), 2)  # each image has a duplicate
    plain = draw_pack(20).subset(first)
    groups, ids = [str(row) for row in first], [str(number) for number in range(40)]
    plain = plain._replace(images=plain.images[:], ids=ids, groups=groups)
    plain.labels[38:] = 3  # the only group of its class
    pack = with_variants(plain._replace(classes=[*plain.classes, "rare"]), groups)
    network, head = new_probe(4), {"name": "logistic", "c": 0.1}
    fitted = fit_head(network, pack, pack, head)
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


def test_features_that_do_not_fit_into_the_memory_are_an_error(
    draw_pack, new_probe, fit_head, monkeypatch
):
    monkeypatch.setattr("classifold.training.probe.MAX_FRACTION_OF_MEMORY", 1e-9)
    with pytest.raises(UserError, match=r"head: .*9 images and variants.*augment\.warped"):
        fit_head(new_probe(), draw_pack(9), draw_pack(9), LOGISTIC)


def test_features_that_are_nan_are_an_error(draw_pack, new_probe, fit_head):
    network = new_probe()
    for parameter in network.backbone.parameters():
        parameter.data.fill_(3e38)  # as when the precision is too low: finite, but not the features
    with pytest.raises(UserError, match=r"arguments\.weights: .*got NaN or infinity for 9 of 9"):
        fit_head(network, draw_pack(9), draw_pack(9), LOGISTIC)


def test_the_body_is_not_changed_and_a_second_head_reads_no_image(
    draw_pack, new_probe, fit_head, monkeypatch
):
    pack, validation = draw_pack(30), draw_pack(24, seed=1)
    first = new_probe()
    fit_head(first, pack, validation, LOGISTIC)
    monkeypatch.setattr("classifold.models.feature_cache.predict_features", None)
    second = new_probe()
    fit_head(second, pack, validation, NEIGHBORS)
    fresh = new_probe().backbone.state_dict()
    for network in (first, second):
        for name, tensor in network.backbone.state_dict().items():
            assert torch.equal(tensor, fresh[name]), name


def test_without_room_for_files_features_are_kept_in_memory(
    draw_pack, new_probe, fit_head, tmp_path, capsys
):
    pack, networks = draw_pack(30), [new_probe(), new_probe()]
    for network, cache in zip(networks, [FeatureCache(tmp_path, max_bytes=9), None], strict=True):
        fit_head(network, pack, pack, LOGISTIC, cache=cache)
    assert "features are kept in memory" in capsys.readouterr().out
    assert torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_more_neighbors_than_images_is_an_error(draw_pack, new_probe, fit_head):
    with pytest.raises(UserError, match=r"head\.k: must be at most 8, .*, got 9"):
        fit_head(new_probe(), draw_pack(8), draw_pack(8), {"name": "neighbors", "k": [3, 9]})


@pytest.fixture(params=[LOGISTIC, NEIGHBORS], ids=["logistic", "neighbors"])
def saved(request, tmp_path, weights, fit_head, draw):
    """Save a probe of a task in a folder; images and their logits."""

    def save(task):
        network, pack, folder = build(weights), draw(task, 20), tmp_path / "saved"
        fit_head(network, pack, pack, request.param)
        folder.mkdir()
        save_model(
            folder,
            network,
            network="probe",
            arguments={"name": NAME, "weights": weights},
            classes=["cat", "dog", "owl"],
            preprocessing={"pack_size": 16, "resize": "lanczos", **SIZE},
            training={"task": task, "threads": 1},
        )
        return folder, pack.images, logits_of(network, pack)

    return save


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_probe_is_loaded_as_it_was_saved(saved, weights, task):
    folder, images, expected = saved(task)
    model = load_model(folder)
    logits = predict_logits(model.network, images, device=CPU, **SIZE)
    np.testing.assert_array_equal(logits, expected)
    assert model.description["weights"]["sha256"] == weights["sha256"]


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
    draw_pack, new_probe, fit_head, machine, tmp_path
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
        fit_head(network, pack.subset(np.flatnonzero(folds != 1)), validation, head, cache=None)
        expected = logits_of(network, pack.subset(np.flatnonzero(folds == 1)))
        np.testing.assert_allclose(logits[folds == 1], expected, atol=0.02)
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_a_refit_uses_the_chosen_candidate_and_all_images(
    draw_pack, new_probe, fit_head, machine, tmp_path
):
    pack, validation = draw_pack(30), draw_pack(12, seed=1)
    fitted = fit_head(new_probe(), pack, validation, LOGISTIC)
    config = config_of(pack, LOGISTIC).as_trained(fitted.phases)
    assert config.head == LOGISTIC | {"c": fitted.phases["head"]["c"]}
    network, expected, both = new_probe(), new_probe(), join(pack, validation)
    work = {"config": config, "policy": NO_POLICY, "machine": machine}
    cache = FeatureCache(tmp_path / "features")
    (row,) = refit(network, both, recorded=fitted.history, cache=cache, **work)
    assert not [name for name in row if name.startswith("validation")]
    fit(expected, both, both, **work)
    np.testing.assert_allclose(logits_of(network, both), logits_of(expected, both), atol=0.05)


def test_check_builds_a_probe(weights):
    model = {
        "network": "probe",
        "arguments": {"name": NAME, "weights": weights},
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


def test_a_search_scores_heads_of_a_probe(weights, tmp_path, monkeypatch, write_packs):
    monkeypatch.chdir(tmp_path)
    packs = write_packs(tmp_path / "packs", train=30, validation=12)
    model = {"network": "probe", "arguments": {"name": NAME, "weights": weights}, **SIZE}
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
