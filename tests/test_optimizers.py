"""Optimizers: they step as torch's of their names, and layers differ only where that is set."""

import copy

import pytest
import torch
from torch import nn

from classifold.errors import UserError
from classifold.training.freezing import set_trainable
from classifold.training.optimizers import make_optimizer


class Layers(nn.Module):
    """A weight, a norm and a bias of each kind that optimizers may treat differently."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.body = nn.Sequential(nn.Linear(16, 6), nn.LayerNorm(6))
        self.head = nn.Linear(6, 2)

    def forward(self, images):
        return self.head(self.body(self.stem(images).flatten(1)))


def take_steps(network, optimizer, n_steps=6):
    """Descend on a loss that grows flatter, so that all of an optimizer's memory counts."""
    images = torch.linspace(-1, 1, 8 * 3 * 4 * 4).view(8, 3, 4, 4)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (network(images.sin()) - 1).pow(2).mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


TORCH_CLASSES = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
}
SGD = {"name": "sgd", "lr": 0.1}
SETTINGS = [
    SGD,
    SGD | {"momentum": 0.9, "weight_decay": 0.01},
    SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"name": "adam", "lr": 0.01},
    {"name": "adam", "lr": 0.01, "betas": [0.7, 0.8], "eps": 0.001, "weight_decay": 0.1},
    {"name": "adam", "lr": 0.05, "betas": [0.5, 0.5], "amsgrad": True},
    {"name": "adamw", "lr": 0.01},
    {"name": "adamw", "lr": 0.01, "betas": [0.8, 0.9], "weight_decay": 0.5},
    {"name": "rmsprop", "lr": 0.01},
    {"name": "rmsprop", "lr": 0.01, "alpha": 0.8, "momentum": 0.5, "centered": True},
    {"name": "adadelta", "lr": 1.0},
    {"name": "adadelta", "lr": 0.5, "rho": 0.7, "eps": 0.001, "weight_decay": 0.01},
]


def torch_optimizer(network, *, name, **settings):
    """The plain optimizer of torch, whose settings have the names of ours."""
    return TORCH_CLASSES[name](network.parameters(), foreach=False, **settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_optimizer_steps_as_torchs_plain_one_of_its_name(settings):
    ours, theirs = Layers(), Layers()
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    found = take_steps(ours, make_optimizer(ours, **settings))
    expected = take_steps(theirs, torch_optimizer(theirs, **settings))
    for parameter, other in zip(found, expected, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-6)
    assert max((a - b).abs().max() for a, b in zip(before, found, strict=True)) > 1e-3


def test_each_optimizer_goes_its_own_way():
    ends = [take_steps(network := Layers(), make_optimizer(network, **s)) for s in SETTINGS]
    ends = [torch.cat([parameter.flatten() for parameter in end]) for end in ends]
    for i, end in enumerate(ends):
        assert all((end - other).abs().max() > 1e-4 for other in ends[:i])


@pytest.mark.parametrize("name", TORCH_CLASSES)
def test_decay_pulls_on_all_or_only_on_what_is_no_norm_and_no_bias(name):
    weights = {"stem.0.weight", "body.0.weight", "head.weight"}
    everything = {name for name, _ in Layers().named_parameters()}
    for settings, pulled in (
        ({}, everything),
        ({"weight_decay_on_norm": True}, everything),
        ({"weight_decay_on_norm": False}, weights),
    ):
        network = Layers()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(1.0)
                parameter.grad = torch.zeros_like(parameter)
        make_optimizer(network, name=name, lr=0.1, weight_decay=0.5, **settings).step()
        values = {name: p.detach() for name, p in network.named_parameters()}
        assert {name for name, value in values.items() if (value < 0.9999).all()} == pulled
        assert {name for name, value in values.items() if (value == 1).all()} == everything - pulled


def distances_moved(network, **settings):
    """How far each parameter goes along a gradient of one."""
    network = copy.deepcopy(network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = make_optimizer(network, **settings)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {
        name: (before[name] - parameter).mean().item()
        for name, parameter in network.named_parameters()
    }


def test_the_longest_matching_prefix_sets_the_rate_factor_of_a_layer():
    factors = {"head": 2.0, "stem.1": 5.0, "stem": 0.1}
    found = distances_moved(Layers(), name="sgd", lr=0.1, lr_factors=factors)
    expected = {"stem.0": 0.01, "stem.1": 0.5, "body.0": 0.1, "body.1": 0.1, "head": 0.2}
    for name, distance in found.items():
        assert distance == pytest.approx(expected[name.rpartition(".")[0]], rel=1e-4), name


def test_rates_decrease_from_the_head_to_the_first_layer():
    found = distances_moved(
        Layers(), name="sgd", lr=0.1, lr_decay_per_layer=0.5, lr_factors={"body": 3.0, "head": 2.0}
    )
    # A norm belongs to the layer before it.
    expected = {"head": 0.1 * 2, "body": 0.1 * 3 / 2, "stem": 0.1 / 4}
    for name, distance in found.items():
        assert distance == pytest.approx(expected[name.partition(".")[0]], rel=1e-4), name


@pytest.mark.parametrize("name", TORCH_CLASSES)
def test_every_optimizer_accepts_rate_factors_and_weight_decay_without_norms(name):
    network = Layers()
    settings = {"lr_factors": {"head": 2.0}, "weight_decay": 0.1, "weight_decay_on_norm": False}
    optimizer = make_optimizer(network, name=name, lr=0.25, **settings)
    names = {parameter: name for name, parameter in network.named_parameters()}
    found = {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    norms_and_biases = (
        "stem.1.weight",
        "stem.1.bias",
        "body.0.bias",
        "body.1.weight",
        "body.1.bias",
    )
    assert found == {
        **dict.fromkeys(norms_and_biases, (0.25, 0)),
        **dict.fromkeys(("stem.0.weight", "body.0.weight"), (0.25, 0.1)),
        "head.weight": (0.5, 0.1),
        "head.bias": (0.5, 0),
    }


def test_a_rate_factor_of_an_unknown_layer_is_an_error():
    with pytest.raises(UserError, match=r"lr_factors: .*got 'neck'"):
        make_optimizer(Layers(), name="sgd", lr=0.1, lr_factors={"neck": 2.0})


def test_frozen_parameters_are_not_optimized():
    network = Layers()
    set_trainable(network, ["body", "head"])
    distances = distances_moved(network, name="sgd", lr=0.1, lr_factors={"stem": 3.0, "head": 0.5})
    for name, distance in distances.items():
        expected = {"stem": 0, "body": 0.1, "head": 0.05}[name.partition(".")[0]]
        assert distance == pytest.approx(expected, rel=1e-4), name
