"""Features of frozen bodies: computed once, kept in files, and the same training as without."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch
from torch import nn

import tiny_model
from classifold.data.image_arrays import ChosenImages, JoinedImages
from classifold.data.pack import join, read_pack
from classifold.data.seeding import seed_torch
from classifold.models import feature_cache
from classifold.models.feature_cache import FeatureCache, NotCachedError
from classifold.models.folding import fold_batch_norms
from classifold.models.inference import predict_features
from classifold.models.model_file import build_network
from classifold.runtime.experiment_folders import original_project
from classifold.search.trial import run_trial
from classifold.training import epochs
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.freezing import set_trainable
from classifold.training.frozen_body import find_tail
from classifold.training.loop import fit, refit
from classifold.training.setup import prepare
from interruptions import bits_of, interrupted
from tiny_model import MODEL, NO_POLICY

CPU = torch.device("cpu")
SIZE = {"image_size": 8, "normalize": "half"}
SETTINGS = SIZE | {"device": CPU}
LARGE = SETTINGS | {"image_size": 32}
ON_CPU = {"device": "cpu", "precision": "fp32", "threads": 1, "compile": False}
PHASE = {
    "epochs": 4,
    "trainable": "head",
    "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9},
    "schedule": {"name": "constant"},
}


def small_resnet(*, dropout=0.5):
    seed_torch(1, "weights")
    arguments = {"widths": [8, 12], "depth": 1, "stem_stride": 1, "dropout": dropout}
    network = build_network("small_resnet", n_classes=3, image_size=8, arguments=arguments)
    for module in network.modules():  # as after a training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network


def large_network(kind="timm", *, name="test_efficientnet", image_size=32, **arguments):
    seed_torch(1, "weights")
    arguments |= {"name": name}
    return build_network(kind, n_classes=3, image_size=image_size, arguments=arguments)


@pytest.fixture
def computed(monkeypatch):
    """The numbers of images in all computations of features."""
    numbers = []

    def counted(network, images, **settings):
        numbers.append(len(images))
        return predict_features(network, images, **settings)

    monkeypatch.setattr(feature_cache, "predict_features", counted)
    return numbers


def config_of(pack, **changes):
    return tiny_model.config_of(pack, **{"phases": {"p1": PHASE}, "seed": 3} | changes)


def train(network, pack, validation, machine, cache, *, policy=NO_POLICY, **changes):
    settings = {"config": config_of(pack, **changes), "policy": policy}
    return fit(network, pack, validation, **settings, machine=machine, cache=cache)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.8}, {"gradient_accumulation_steps": 2}])
def test_a_head_learns_the_same_from_features_that_are_computed_once(
    draw_pack, machine, tmp_path, changes
):
    pack, validation = draw_pack(40), draw_pack(24, seed=1)
    plain, cached = small_resnet(), small_resnet()
    without = train(plain, pack, validation, machine, None, **changes)
    with_cache = train(cached, pack, validation, machine, FeatureCache(tmp_path), **changes)

    assert without.body is None
    assert len(list(tmp_path.glob("*.npy"))) == 2  # of training and validation images
    for expected, found in zip(without.history, with_cache.history, strict=True):
        assert found == pytest.approx(expected, abs=2e-3)
    assert without.history[0]["train_loss"] > without.history[-1]["train_loss"] + 0.1
    state, expected = cached.state_dict(), plain.state_dict()
    for name, tensor in expected.items():
        tolerance = 2e-3 if name.startswith("head") else 0
        torch.testing.assert_close(state[name], tensor, atol=tolerance, rtol=0)
    for split in (pack, validation):
        logits = predict_distributed(cached, split, machine=machine, body=with_cache.body, **SIZE)
        expected = predict_distributed(cached, split, machine=machine, **SIZE)
        np.testing.assert_allclose(logits, expected, atol=5e-3)


def test_another_head_reads_no_image(draw_pack, machine, tmp_path, monkeypatch):
    where = draw_pack(40), draw_pack(24, seed=1), machine, FeatureCache(tmp_path)
    first = train(small_resnet(), *where)
    monkeypatch.setattr(feature_cache, "predict_features", None)
    assert train(small_resnet(), *where).history == first.history
    other = train(small_resnet(dropout=0.1), *where, batch_size=16)
    assert other.history != first.history


def checked_features(images, folder):
    """The cached features, which are those of the images in memory."""
    network = small_resnet()
    found = FeatureCache(folder).features(network, images, **SETTINGS)
    expected = predict_features(network, images[:], **SETTINGS)
    np.testing.assert_allclose(found[:], expected, rtol=2e-3, atol=1e-5)
    return found


def test_selected_and_joined_images_share_the_features_of_the_stored_ones(tmp_path, draw_pack):
    first, second = draw_pack(20).images, draw_pack(7, seed=1).images
    chosen = ChosenImages(first, np.array([3, 0, 19]))
    found = checked_features(JoinedImages(chosen, second), tmp_path)
    assert found.dtype == np.float16
    assert sorted(len(np.load(path)) for path in tmp_path.glob("*.npy")) == [7, 20]


OTHER = {"image_size": 16, "normalize": "imagenet"}


@pytest.mark.parametrize("change", ["images", "weights", "precision", *OTHER])
def test_whatever_changes_features_has_a_file_of_its_own(tmp_path, draw_pack, change):
    images, network, cache = draw_pack(6).images, small_resnet(), FeatureCache(tmp_path)
    before = cache.features(network, images, **SETTINGS)[:]
    settings = SETTINGS | {name: value for name, value in OTHER.items() if name == change}
    if change == "images":
        images = images.copy()
        images[2, 3, 3] = 255 - images[2, 3, 3]
    if change == "weights":
        network.blocks[0].conv1.weight.data[0, 0, 0, 0] += 1
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "precision"):
        after = cache.features(network, images, **settings)[:]
    assert len(list(tmp_path.glob("*.npy"))) == 2
    assert (before != after).any()


def test_networks_with_the_same_backbone_share_features(tmp_path, draw_pack, monkeypatch):
    images, cache, first = draw_pack(6).images, FeatureCache(tmp_path), large_network("probe")
    expected = cache.features(first, images, **LARGE)
    monkeypatch.setattr(feature_cache, "predict_features", None)
    for options in ({}, {"dropout": 0.2, "drop_path": 0.1}):
        other = large_network(**options)
        other.backbone.load_state_dict(first.backbone.state_dict())
        np.testing.assert_array_equal(cache.features(other, images, **LARGE), expected)


class Scaled(nn.Module):
    """A network whose features are not the outputs of its backbone."""

    def __init__(self, like, factor):
        super().__init__()
        self.backbone, self.head, self.factor = like.backbone, like.head, factor

    def forward(self, images):
        features = self.backbone(images)
        return self.head(features if self.factor == 1 else features * self.factor)


def test_a_backbone_whose_outputs_are_changed_shares_no_features(tmp_path, draw_pack):
    images, cache, network = draw_pack(6).images, FeatureCache(tmp_path), large_network("probe")
    expected = cache.features(network, images, **LARGE)
    for factor in (1, 2):
        found = cache.features(Scaled(network, factor), images, **LARGE)
        np.testing.assert_allclose(found, factor * expected, rtol=1e-3, atol=1e-6)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_features_of_other_layers_are_in_another_file(tmp_path, draw_pack):
    images, cache = draw_pack(6).images, FeatureCache(tmp_path)
    n_features = [
        cache.features(large_network(kind, **layers), images, **LARGE).shape[1]
        for kind in ("probe", "timm")
        for layers in ({}, {"layers": ["blocks.1"]}, {"layers": ["blocks.2", "blocks.1"]})
    ]
    assert n_features == 2 * [256, 256 + 24, 256 + 32 + 24]
    assert len(list(tmp_path.glob("*.npy"))) == 5  # without layers both have the same


def test_a_damaged_file_is_computed_again(tmp_path, draw_pack):
    images, network, cache = draw_pack(6).images, small_resnet(), FeatureCache(tmp_path)
    expected = np.array(cache.features(network, images, **SETTINGS))
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(cache.features(network, images, **SETTINGS), expected)


def test_the_files_that_were_not_used_for_longest_are_deleted(tmp_path, draw_pack):
    network, sets = small_resnet(), [draw_pack(6, seed=seed).images for seed in range(3)]
    cache = FeatureCache(tmp_path, max_bytes=500)  # files have 272 bytes, 128 in the header
    first = cache.features(network, sets[0], **SETTINGS)
    (oldest,) = tmp_path.glob("*.npy")
    kept = np.array(first)
    for images in (sets[1], sets[0], sets[2]):  # the first is used again before the third
        cache.features(network, images, **SETTINGS)
    assert oldest.exists()
    assert len(list(tmp_path.glob("*.npy"))) == 2
    np.testing.assert_array_equal(first, kept)


def test_features_that_do_not_fit_are_computed_in_every_epoch(tmp_path, draw_pack, machine, capsys):
    pack, cache = draw_pack(16), FeatureCache(tmp_path, max_bytes=100)
    assert train(small_resnet(), pack, pack, machine, cache).body is None
    assert "in every epoch, since 0.0 GiB of features" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.npy*"))


def test_features_beyond_float16_are_not_cached(tmp_path, draw_pack):
    network = small_resnet()
    network.norm.weight.data.fill_(1e6)
    with pytest.raises(NotCachedError, match="float16"):
        FeatureCache(tmp_path).features(network, draw_pack(6).images, **SETTINGS)
    assert not list(tmp_path.glob("*.npy*"))


def test_of_two_that_need_the_same_features_one_waits_for_the_other(tmp_path, draw_pack, computed):
    images, network, together = draw_pack(30).images, small_resnet(), Barrier(2, timeout=20)

    def use(_):
        together.wait()
        return np.array(FeatureCache(tmp_path).features(network, images, **SETTINGS))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(use, range(2))
    np.testing.assert_array_equal(first, second)
    assert computed == [1, 30]  # the first image alone shows the number of features
    assert not list(tmp_path.glob("*.lock"))


def test_without_space_on_the_disk_features_are_computed_in_every_epoch(
    tmp_path, draw_pack, machine, capsys
):
    full_disk = pytest.importorskip("full_disk").full_disk  # not on Windows
    pack, cache = draw_pack(16), FeatureCache(tmp_path)
    with full_disk(300):  # a file has 512 bytes
        assert train(small_resnet(), pack, pack, machine, cache).body is None
    assert "npy cannot be written ([Errno 27] File too large)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_replaced(tmp_path, draw_pack):
    images, network, cache = draw_pack(6).images, small_resnet(), FeatureCache(tmp_path)
    cache.features(network, images, **SETTINGS)
    (path,) = tmp_path.glob("*.npy")
    path.rename(f"{path}.partial")
    cache.features(network, images, **SETTINGS)
    assert path.exists()
    assert not list(tmp_path.glob("*.partial"))


def test_an_unfinished_file_is_deleted_only_if_it_is_old(tmp_path, draw_pack):
    new, old = tmp_path / "new.npy.partial", tmp_path / "old.npy.partial"
    for path in (new, old):
        path.write_bytes(bytes(10_000))
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    cache = FeatureCache(tmp_path, max_bytes=10_000)
    cache.features(small_resnet(), draw_pack(6).images, **SETTINGS)
    assert new.exists()
    assert not old.exists()


def test_features_of_a_selection_of_jpegs_are_those_of_the_decoded_images(tmp_path, write_packs):
    write_packs(tmp_path, pack=9, storage="jpeg")
    checked_features(read_pack(tmp_path / "pack").subset(np.array([8, 2])).images, tmp_path)


class Odd(nn.Module):
    """A network with layers between its features and its head."""

    def __init__(self, *layers, noise=0.0):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3)
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(6, 3)
        self.noise = noise

    def forward(self, images):
        features = self.body(images).mean((2, 3))
        if self.training:  # as a module with a trainable part is
            features = features + self.noise * torch.rand_like(features)
        return self.head(self.layers(features))


def tail_of(network, *, image_size=8):
    set_trainable(network, "head")
    return find_tail(network, image_size=image_size, device=CPU)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], [nn.Linear]),
        ([nn.Dropout()], [nn.Dropout, nn.Linear]),
        ([nn.Dropout(inplace=True)], [nn.Dropout, nn.Linear]),
        ([nn.Tanh(), nn.Dropout(), nn.AlphaDropout()], [nn.Dropout, nn.AlphaDropout, nn.Linear]),
        ([nn.Dropout(0.0), nn.ReLU()], [nn.Linear]),
    ],
    ids=["head", "dropout", "dropout in place", "two kinds of dropout", "dropout of 0"],
)
def test_what_follows_the_features_is_dropout_and_the_head(layers, expected):
    network, before = Odd(*layers), torch.get_rng_state()
    assert [type(layer) for layer in tail_of(network)] == expected
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Odd(nn.Dropout(), nn.ReLU()), "dropout before other layers"),
        (Odd(noise=0.1), "differ between training and evaluation"),
        ("squeezenet1_1", "head is not its last layer"),
        ("alexnet", "dropout before other layers"),
    ],
    ids=["dropout", "noise", "squeezenet", "alexnet"],
)
def test_a_network_whose_features_change_is_not_cached(network, reason):
    if isinstance(network, str):
        network = large_network("torchvision", name=network, image_size=64)
    with pytest.raises(NotCachedError, match=reason):
        tail_of(network, image_size=64)


@pytest.mark.parametrize(
    "changes",
    [{"policy": {"steps": [{"flip": "horizontal"}], "fill": "reflect"}}, {"train_size": 6}],
    ids=["on the fly", "train_size"],
)
def test_a_phase_whose_images_change_computes_features_in_every_epoch(
    draw_pack, machine, tmp_path, changes, request
):
    pack, lines = draw_pack(16), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epochs, "log", lines.append)
        fitted = train(small_resnet(), pack, pack, machine, FeatureCache(tmp_path), **changes)
    assert fitted.body is None
    assert request.node.callspec.id in lines[0]
    assert "trains 39 of " in lines[1]
    assert lines[1].endswith(": head")
    assert not list(tmp_path.glob("*.npy"))


def test_after_the_head_the_whole_network_is_trained_on_images(draw_pack, machine, tmp_path):
    phases = {"p1": PHASE, "p2": PHASE | {"trainable": "all", "epochs": 1}}
    pack, network = draw_pack(24), small_resnet()
    before = network.stem.weight.detach().clone()
    fitted = train(network, pack, pack, machine, FeatureCache(tmp_path), phases=phases)
    assert list(tmp_path.glob("*.npy")) and fitted.body is None
    assert not torch.equal(network.stem.weight, before)


def test_a_refit_uses_the_features_of_both_splits(draw_pack, machine, tmp_path):
    pack, validation = draw_pack(40), draw_pack(24, seed=1)
    cache, weights = FeatureCache(tmp_path), []
    fitted = train(small_resnet(), pack, validation, machine, cache)
    settings = {"config": config_of(pack), "policy": NO_POLICY, "machine": machine}
    for where in (None, cache):
        network, recorded = small_resnet(), fitted.history[: fitted.best_epoch]
        refit(network, join(pack, validation), **settings, recorded=recorded, cache=where)
        weights.append(network.head.weight)
    assert len(list(tmp_path.glob("*.npy"))) == 2  # no further pass over the images
    torch.testing.assert_close(*weights, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (small_resnet, 8),  # norms before activations and convolutions
        (large_network, 32),
        (lambda: large_network(name="test_vit", image_size=160), 160),
    ],
    ids=["small_resnet", "test_efficientnet", "test_vit"],
)
def test_folded_batch_norms_change_no_output(network, size):
    network, inputs = network().eval(), torch.randn(2, 3, size, size)
    folded = fold_batch_norms(network, inputs)
    with torch.inference_mode():
        torch.testing.assert_close(folded(inputs), network(inputs), atol=1e-5, rtol=1e-4)


def count_norms(network):
    return sum("BatchNorm" in type(layer).__name__ for layer in network.modules())


def test_batch_norms_of_an_efficientnet_are_folded_into_its_convolutions():
    network = large_network().eval()
    folded = fold_batch_norms(network, torch.randn(1, 3, 32, 32))
    assert count_norms(network) > 5
    assert count_norms(folded) == 0


def test_a_norm_after_an_activation_is_not_folded():
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.Flatten()]
    network = nn.Sequential(*layers).eval()
    network[2].running_mean.normal_()
    assert fold_batch_norms(network, torch.randn(1, 3, 8, 8)) is network


def test_experiments_of_a_queue_share_the_features_of_the_project(tmp_path):
    assert original_project(Path()) == Path()
    assert original_project(tmp_path) == tmp_path
    assert original_project(tmp_path / ".dvc/tmp/exps/tmp9x") == tmp_path
    assert original_project(tmp_path / ".dvc/tmp/other") == tmp_path / ".dvc/tmp/other"


def test_a_training_run_in_an_experiment_uses_the_features_of_the_project(
    tmp_path, write_packs, monkeypatch
):
    packs = write_packs(tmp_path / "packs", train=6, validation=6)
    copied = tmp_path / ".dvc/tmp/exps/tmp9x"
    copied.mkdir(parents=True)
    monkeypatch.chdir(copied)
    training = prepare(ON_CPU, MODEL | {"network": "small_resnet", "arguments": {}}, packs=packs)
    assert training.cache.folder == tmp_path / ".cache/features"


def test_trials_of_a_search_compute_features_once(tmp_path, write_packs, monkeypatch, computed):
    monkeypatch.chdir(tmp_path)
    packs = write_packs(tmp_path / "packs", train=24, validation=12)
    model = MODEL | {
        "network": "small_resnet",
        "arguments": {"widths": [8], "depth": 1, "stem_stride": 1},
        "phases": {"p1": PHASE},
    }
    params = {"train": ON_CPU, "policies": {"none": NO_POLICY}}
    for batch_size in (4, 8, 12):
        models = {"models": {"net": model | {"batch_size": batch_size}}}
        assert run_trial(params | models, "net", packs=packs).n_epochs == PHASE["epochs"]
    assert sorted(computed) == [1, 1, 12, 24]


def test_an_interrupted_training_on_features_ends_with_the_same_bits(draw_pack, machine, tmp_path):
    pack = draw_pack(40)
    options = {"policy": NO_POLICY, "machine": machine, "cache": FeatureCache(tmp_path)}
    options["config"] = config_of(pack, ema_decay=0.8)

    def fit_new(checkpoint=None):
        network = small_resnet()
        fitted = fit(network, pack, pack, checkpoint=checkpoint, **options)
        return fitted.history, bits_of(network)

    assert interrupted(fit_new, tmp_path, after=2) == fit_new()
