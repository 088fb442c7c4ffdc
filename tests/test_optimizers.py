"""Optimizers: they step as torch's of their names, and layers differ only where that is set."""

import copy
import math

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


def steps(network, optimizer, n_steps=6):
    """Descend on a loss that grows flatter, so that all of an optimizer's memory counts."""
    images = torch.linspace(-1, 1, 8 * 3 * 4 * 4).view(8, 3, 4, 4)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (network(images.sin()) - 1).pow(2).mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


PLAIN = {"foreach": False, "fused": False}

REFERENCES = {
    "sgd": ({"name": "sgd", "lr": 0.1}, lambda p: torch.optim.SGD(p, 0.1, **PLAIN)),
    "momentum": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, **PLAIN),
    ),
    "nesterov": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01, **PLAIN),
    ),
    "adam": ({"name": "adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, 0.01, **PLAIN)),
    "adam, decay": (
        {"name": "adam", "lr": 0.01, "betas": [0.7, 0.8], "eps": 0.001, "weight_decay": 0.1},
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.7, 0.8), eps=0.001, weight_decay=0.1, **PLAIN),
    ),
    "amsgrad": (
        {"name": "adam", "lr": 0.05, "betas": [0.5, 0.5], "amsgrad": True},
        lambda p: torch.optim.Adam(p, 0.05, betas=(0.5, 0.5), amsgrad=True, **PLAIN),
    ),
    "adamw": ({"name": "adamw", "lr": 0.01}, lambda p: torch.optim.AdamW(p, 0.01, **PLAIN)),
    "adamw, decay": (
        {"name": "adamw", "lr": 0.01, "betas": [0.8, 0.9], "weight_decay": 0.5},
        lambda p: torch.optim.AdamW(p, 0.01, betas=(0.8, 0.9), weight_decay=0.5, **PLAIN),
    ),
    "rmsprop": (
        {"name": "rmsprop", "lr": 0.01},
        lambda p: torch.optim.RMSprop(p, 0.01, foreach=False),
    ),
    "rmsprop, centered": (
        {"name": "rmsprop", "lr": 0.01, "alpha": 0.8, "momentum": 0.5, "centered": True},
        lambda p: torch.optim.RMSprop(
            p, 0.01, alpha=0.8, momentum=0.5, centered=True, foreach=False
        ),
    ),
    "adadelta": (
        {"name": "adadelta", "lr": 1.0},
        lambda p: torch.optim.Adadelta(p, 1.0, foreach=False),
    ),
    "adadelta, decay": (
        {"name": "adadelta", "lr": 0.5, "rho": 0.7, "eps": 0.001, "weight_decay": 0.01},
        lambda p: torch.optim.Adadelta(
            p, 0.5, rho=0.7, eps=0.001, weight_decay=0.01, foreach=False
        ),
    ),
}


@pytest.mark.parametrize(("settings", "reference"), REFERENCES.values(), ids=REFERENCES)
def test_an_optimizer_steps_as_torchs_plain_one_of_its_name(settings, reference):
    ours, theirs = Layers(), Layers()
    before = [parameter.detach().clone() for parameter in ours.parameters()]
    found = steps(ours, make_optimizer(ours, **settings))
    expected = steps(theirs, reference(theirs.parameters()))
    for parameter, other in zip(found, expected, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-6)
    assert max((a - b).abs().max() for a, b in zip(before, found, strict=True)) > 1e-3


def test_each_optimizer_goes_its_own_way():
    ends = [
        steps(network := Layers(), make_optimizer(network, **s)) for s, _ in REFERENCES.values()
    ]
    ends = [torch.cat([parameter.flatten() for parameter in end]) for end in ends]
    for i, end in enumerate(ends):
        assert all((end - other).abs().max() > 1e-4 for other in ends[:i])


def one_weight(value, gradients, **settings):
    """Where a single weight is after steps along the given gradients."""
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(value)
    optimizer = make_optimizer(network, **settings)
    for gradient in gradients:
        network.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
    return network.weight.item()


@pytest.mark.parametrize(
    ("settings", "gradients", "expected"),
    [
        pytest.param({"name": "sgd", "lr": 0.1}, [6.0], 3 - 0.1 * 6, id="sgd"),
        pytest.param(
            {"name": "sgd", "lr": 0.1, "weight_decay": 0.5},
            [6.0],
            3 - 0.1 * (6 + 0.5 * 3),
            id="sgd, decay",
        ),
        pytest.param(
            {"name": "sgd", "lr": 0.1, "momentum": 0.9},
            [6.0, 2.0],  # velocities 6, then 0.9 x 6 + 2
            3 - 0.1 * 6 - 0.1 * 7.4,
            id="momentum",
        ),
        pytest.param(
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
            [6.0, 2.0],  # the same velocities, looked ahead along: 6 + 0.9 x 6, 2 + 0.9 x 7.4
            3 - 0.1 * 11.4 - 0.1 * 8.66,
            id="nesterov",
        ),
        pytest.param({"name": "adam", "lr": 0.1}, [6.0], 3 - 0.1, id="adam: a first step is lr"),
        pytest.param(
            {"name": "adamw", "lr": 0.1, "weight_decay": 0.5},
            [6.0],
            3 * (1 - 0.1 * 0.5) - 0.1,  # decay apart from the step
            id="adamw",
        ),
        pytest.param(
            # Without correction m = 0.5 x 4, then 0.25 x 4 + 0.5 x 1; v = 0.5 x 16 stays the
            # largest (0.5 x 8 + 0.5 x 1 = 4.5), corrected by 1 - 0.5^2.
            {"name": "adam", "lr": 0.1, "betas": [0.5, 0.5], "amsgrad": True},
            [4.0, 1.0],
            3 - 0.1 - 0.1 * (1.5 / 0.75) / math.sqrt(8 / 0.75),
            id="amsgrad",
        ),
        pytest.param(
            {"name": "rmsprop", "lr": 0.1, "alpha": 0.75},
            [6.0],
            3 - 0.1 * 6 / math.sqrt(0.25 * 36),
            id="rmsprop",
        ),
        pytest.param(
            {"name": "adadelta", "lr": 1.0, "rho": 0.75, "eps": 0.01},
            [6.0],
            3 - 6 * math.sqrt(0.01) / math.sqrt(0.25 * 36 + 0.01),
            id="adadelta",
        ),
    ],
)
def test_steps_by_hand(settings, gradients, expected):
    assert one_weight(3.0, gradients, **settings) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adadelta"])
def test_decay_pulls_on_all_or_only_on_what_is_no_norm_and_no_bias(name):
    for weight_decay_on_norm in (True, False):
        network = Layers()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(1.0)
                parameter.grad = torch.zeros_like(parameter)
        optimizer = make_optimizer(
            network, name=name, lr=0.1, weight_decay=0.5, weight_decay_on_norm=weight_decay_on_norm
        )
        optimizer.step()
        pulled = {
            name for name, parameter in network.named_parameters() if (parameter < 0.9999).all()
        }
        weights = {"stem.0.weight", "body.0.weight", "head.weight"}
        everything = {name for name, _ in network.named_parameters()}
        assert pulled == (everything if weight_decay_on_norm else weights)
        left = {
            name for name, p in network.named_parameters() if torch.equal(p, torch.ones(p.shape))
        }
        assert left == everything - pulled


def test_without_a_word_weight_decay_pulls_on_norms_and_biases_too():
    network = Layers()
    (group,) = make_optimizer(network, name="sgd", lr=0.1, weight_decay=0.5).param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert group["weight_decay"] == 0.5


def moved(network, **settings):
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
    found = moved(Layers(), name="sgd", lr=0.1, lr_factors=factors)
    expected = {
        "stem.0": 0.1 * 0.1,
        "stem.1": 0.1 * 5,
        "body.0": 0.1,
        "body.1": 0.1,
        "head": 0.1 * 2,
    }
    for name, distance in found.items():
        assert distance == pytest.approx(expected[name.rpartition(".")[0]], rel=1e-4), name


def test_rates_decrease_from_the_head_to_the_first_layer():
    found = moved(
        Layers(), name="sgd", lr=0.1, lr_decay_per_layer=0.5, lr_factors={"body": 3.0, "head": 2.0}
    )
    # A norm belongs to the layer before it.
    expected = {"head": 0.1 * 2, "body": 0.1 * 3 / 2, "stem": 0.1 / 4}
    for name, distance in found.items():
        assert distance == pytest.approx(expected[name.partition(".")[0]], rel=1e-4), name


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adadelta"])
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
    plain = dict.fromkeys(["stem.1.weight", "stem.1.bias", "body.0.bias"], (0.25, 0))
    assert found == plain | {
        "stem.0.weight": (0.25, 0.1),
        "body.0.weight": (0.25, 0.1),
        "body.1.weight": (0.25, 0),
        "body.1.bias": (0.25, 0),
        "head.weight": (0.5, 0.1),
        "head.bias": (0.5, 0),
    }


def test_a_rate_factor_of_an_unknown_layer_is_an_error():
    with pytest.raises(UserError, match=r"lr_factors: .*got 'neck'"):
        make_optimizer(Layers(), name="sgd", lr=0.1, lr_factors={"neck": 2.0})


def test_frozen_parameters_are_not_optimized():
    network = Layers()
    set_trainable(network, ["body", "head"])
    distances = moved(network, name="sgd", lr=0.1, lr_factors={"stem": 3.0, "head": 0.5})
    for name, distance in distances.items():
        expected = {"stem": 0, "body": 0.1, "head": 0.05}[name.partition(".")[0]]
        assert distance == pytest.approx(expected, rel=1e-4), name
