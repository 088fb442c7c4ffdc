"""A stored model predicts as the trained one did, and a damaged one is an error with a remedy."""

import numpy as np
import pytest
import torch

from classifold.data.json_file import read_json, write_json
from classifold.data.seeding import seed_torch
from classifold.errors import UserError
from classifold.models.inference import predict_logits
from classifold.models.model_file import build_network, load_model, save_model

PREPROCESSING = {"pack_size": 8, "resize": "box", "image_size": 64, "normalize": "half"}
ARGUMENTS = {"widths": [16, 20], "depth": 1}
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


@pytest.fixture
def network():
    seed_torch(1)
    built = build_network("small_resnet", n_classes=3, image_size=64, arguments=ARGUMENTS)
    built.train()(torch.randn(8, 3, 8, 8))  # moves the running statistics, which count too
    return built.eval()


def save(folder, model, **changes):
    folder.mkdir(exist_ok=True)
    settings = {
        "network": "small_resnet",
        "arguments": ARGUMENTS,
        "classes": ["ape", "cat", "dog"],
        "preprocessing": PREPROCESSING,
        "training": {"precision": "fp32", "threads": 1},
    }
    save_model(folder, model, **settings | changes)
    return folder


def logits_of(network):
    return predict_logits(
        network, IMAGES, image_size=64, normalize="half", device=torch.device("cpu")
    )


def test_a_loaded_model_has_the_logits_of_the_trained_one(tmp_path, network):
    model = load_model(save(tmp_path / "m", network))
    np.testing.assert_array_equal(logits_of(model.network), logits_of(network))
    assert not model.network.training
    assert model.classes == ["ape", "cat", "dog"]
    assert model.preprocessing == PREPROCESSING
    assert model.description["precision"] == "fp32"


def test_the_same_model_gives_the_same_bytes(tmp_path, network):
    first, second = save(tmp_path / "a", network), save(tmp_path / "b", network)
    for name in ("weights.safetensors", "model.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_published_weights_are_not_fetched_again(tmp_path, monkeypatch):
    seed_torch(1)
    arguments = {"name": "squeezenet1_1"}
    network = build_network("torchvision", n_classes=3, image_size=32, arguments=arguments)
    settings = {"network": "torchvision", "arguments": arguments | {"weights": "NO_SUCH_WEIGHTS"}}
    folder = save(tmp_path / "m", network, **settings)
    loaded = load_model(folder).network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "empty"])
def test_an_error_for_a_damaged_model_has_the_remedy(tmp_path, network, name, damage):
    path = save(tmp_path / "mlp", network) / name
    path.write_bytes(path.read_bytes()[:-10] if damage == "cut short" else b"")
    if damage == "missing":
        path.unlink()
    message = r"mlp.* (is damaged|is incomplete) .*.*'dvc repro'"
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "mlp")


@pytest.mark.parametrize(
    "changes", [{"widths": [16, 24], "depth": 1}, {"widths": [16], "depth": 2}]
)
def test_weights_of_another_network_are_an_error(tmp_path, network, changes):
    folder = save(tmp_path / "mine", network)
    description = read_json(folder / "model.json")
    write_json(folder / "model.json", description | {"arguments": changes})
    message = r"the weights of network small_resnet, got those of another network; .*'dvc repro'"
    with pytest.raises(UserError, match=message):
        load_model(folder)
