"""What of a network trains: all, the head, or what its names begin with."""

import pytest
import torch
from torch import nn

from classifold.errors import UserError
from classifold.models.model_file import build_network
from classifold.training.freezing import (
    count_parameters,
    layers_in_order,
    set_trainable,
    train_mode,
)


@pytest.fixture
def network():
    arguments = {"widths": [8, 10], "depth": 1, "dropout": 0.5}
    return build_network("small_resnet", n_classes=3, image_size=8, arguments=arguments)


@pytest.fixture
def resnet18():
    arguments = {"name": "resnet18"}
    return build_network("torchvision", n_classes=3, image_size=32, arguments=arguments)


def trained_parameters(network):
    return {name for name, p in network.named_parameters() if p.requires_grad}


def test_all_trains_everything_whatever_was_frozen_before(network):
    set_trainable(network, "head")
    set_trainable(network, "all")
    assert trained_parameters(network) == {name for name, _ in network.named_parameters()}
    assert count_parameters(network, trainable=True) == count_parameters(network)


@pytest.mark.parametrize("trainable", ["head", ["head"]])
def test_head_trains_only_its_weight_and_bias(network, trainable):
    set_trainable(network, trainable)
    assert trained_parameters(network) == {"head.weight", "head.bias"}
    assert count_parameters(network, trainable=True) == 10 * 3 + 3


def test_prefixes_train_only_the_parameters_under_them(network):
    set_trainable(network, ["blocks.1", "norm"])
    expected = {name for name, _ in network.named_parameters() if name.startswith("blocks.1.")}
    assert len(expected) == 7  # two norms of two, two convolutions and a projection
    assert trained_parameters(network) == expected | {"norm.weight", "norm.bias"}
    set_trainable(network, ["head", "blocks.0.conv1.weight"])
    assert trained_parameters(network) == {"head.weight", "head.bias", "blocks.0.conv1.weight"}


def test_a_prefix_ends_at_a_dot():
    network = nn.ModuleDict({"layer1": nn.Linear(2, 2), "layer10": nn.Linear(2, 2)})
    set_trainable(network, ["layer1"])
    assert trained_parameters(network) == {"layer1.weight", "layer1.bias"}


def test_in_a_network_of_torchvision_the_head_is_named_head_too(resnet18):
    set_trainable(resnet18, ["head", "backbone.layer4.1.bn2"])
    names = {"fc.weight", "fc.bias", "layer4.1.bn2.weight", "layer4.1.bn2.bias"}
    assert trained_parameters(resnet18) == {f"backbone.{name}" for name in names}
    layers = "head, backbone.conv1, backbone.bn1, backbone.layer1, backbone.layer2"
    with pytest.raises(UserError, match=f"got 'layer4'.*{layers}"):
        set_trainable(resnet18, ["layer4"])


@pytest.mark.parametrize("prefix", ["block", "blocks.2", "Head", ""])
def test_an_error_for_an_unknown_layer_lists_the_layers(network, prefix):
    message = f"^trainable: .*got '{prefix}'.*head, stem, blocks, norm"
    with pytest.raises(UserError, match=message):
        set_trainable(network, ["head", prefix])


def test_the_statistics_of_frozen_layers_do_not_move(network):
    images = torch.randn(8, 3, 8, 8)
    first, second = ({f"blocks.{i}.norm1", f"blocks.{i}.norm2"} for i in (0, 1))
    moving = {"all": first | second | {"norm"}, "head": set(), ("norm", "head"): {"norm"}}
    for trainable, expected in (moving | {("blocks.0",): first}).items():
        set_trainable(network, trainable)
        before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        train_mode(network)
        network(images)
        moved = {
            name.rpartition(".")[0]
            for name, buffer in network.named_buffers()
            if not torch.equal(before[name], buffer)
        }
        assert moved == expected, trainable


def test_frozen_batch_norms_keep_parameters_and_statistics_while_other_layers_train(network):
    set_trainable(network, "all", freeze_batch_norm=True)
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    frozen = {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    assert frozen
    assert trained_parameters(network) == {name for name, _ in network.named_parameters()} - frozen
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    train_mode(network)
    network(torch.randn(8, 3, 8, 8))
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())
    set_trainable(network, "all")
    assert trained_parameters(network) == {name for name, _ in network.named_parameters()}


def test_frozen_first_layers_record_no_gradients(network):
    set_trainable(network, ["blocks.1", "head"])
    train_mode(network)
    outputs = {}
    for name in ("stem", "blocks.0", "blocks.1"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: outputs.update({name: output.requires_grad})
        )
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    assert outputs == {"stem": False, "blocks.0": False, "blocks.1": True}
    assert network.stem.weight.grad is None


def names_of_layers(network):
    names = {parameter: name for name, parameter in network.named_parameters()}
    return [[names[parameter] for parameter in layer] for layer in layers_in_order(network)]


def test_layers_are_blocks_and_norms_between_blocks_belong_to_the_layer_before(network):
    layers = names_of_layers(network)
    first = [layer[0].rpartition(".")[0] for layer in layers]
    assert first == ["stem", "blocks.0.norm1", "blocks.1.norm1", "head"]
    assert layers[2][-2:] == ["norm.weight", "norm.bias"]
    assert sum(map(len, layers)) == len(list(network.parameters()))


def test_layers_of_published_networks_go_from_the_stem_to_the_head(resnet18):
    layers = names_of_layers(resnet18)
    assert len(layers) == 1 + 8 + 1  # stem, two blocks in each of four stages, head
    assert layers[0] == ["backbone.conv1.weight", "backbone.bn1.weight", "backbone.bn1.bias"]
    assert layers[8][0] == "backbone.layer4.1.conv1.weight"
    assert layers[9] == ["backbone.fc.weight", "backbone.fc.bias"]


def test_what_trains_is_put_into_training_mode_and_what_is_frozen_drops_nothing(tiny_mlp):
    network = tiny_mlp(dropout=0.5).eval()
    dropout = next(module for module in network.modules() if isinstance(module, nn.Dropout))
    set_trainable(network, "head")
    train_mode(network)
    assert network.head.training
    assert not dropout.training
    set_trainable(network, "all")
    train_mode(network)
    assert all(module.training for module in network.modules())
