"""Attacks on networks whose weakness is known."""

import numpy as np
import pytest
import torch
from torch import nn

from classifold.analysis.robustness.adversarial import (
    PixelModule,
    StackedModule,
    change_adversarially,
)
from classifold.models.model_file import Model
from classifold.models.preprocessing import to_input
from classifold.stacking.ensemble import fit_ensemble
from tiny_model import STACK

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
SIDE = 4


class Linear(nn.Module):
    """Two logits, whose difference is a weighted sum of pixels."""

    def __init__(self, weights, bias, scale=1.0):
        super().__init__()
        self.weights, self.bias, self.scale = weights, bias, scale

    def forward(self, images):
        margin = (images * self.weights).flatten(1).sum(1) + self.bias
        return self.scale * torch.stack([torch.zeros_like(margin), margin], 1)


def as_model(network):
    preprocessing = {"image_size": SIDE, "normalize": "none"}
    return Model(network, ["a", "b"], preprocessing, {"threads": 1})


@pytest.mark.parametrize("scale", [1, 1e4, 1e-9])  # very confident, and hardly any gradient
@pytest.mark.parametrize("n_steps", [1, 7])
def test_a_linear_network_is_attacked_exactly_as_far_as_its_weights_allow(scale, n_steps):
    """FGSM and PGD decrease the margin of a linear network by epsilon * sum |weights|."""
    weights = torch.from_numpy(RANDOM.normal(size=(3, SIDE, SIDE)).astype(np.float32))
    pixels = RANDOM.integers(20, 236, (40, SIDE, SIDE, 3), np.uint8)  # no value is clipped
    inputs = to_input(pixels, image_size=SIDE, normalize="none", device=CPU)
    plain = Linear(weights, 0.0)
    bias = -float(plain(inputs)[:, 1].median())
    margins = plain(inputs)[:, 1].numpy() + bias
    labels = (margins > 0).astype(int)
    network = PixelModule(as_model(Linear(weights, bias, scale)))
    total = float(weights.abs().sum())
    n_wrong = []
    for epsilon in (1, 4, 8):
        settings = {"epsilon": epsilon, "n_steps": n_steps, "device": CPU}
        attacked = change_adversarially(network, pixels, labels, **settings)
        change = attacked.astype(int) - pixels
        assert np.abs(change).max() == epsilon
        inputs = to_input(attacked, image_size=SIDE, normalize="none", device=CPU)
        after = Linear(weights, bias)(inputs)[:, 1].numpy()
        expected = np.abs(margins) - epsilon / 255 * total
        np.testing.assert_allclose(np.where(labels, after, -after), expected, atol=1e-4)
        n_wrong.append((expected < 0).sum())
    assert 0 < n_wrong[0] < n_wrong[1] < n_wrong[2] < 40


def test_values_stay_in_the_range_of_images():
    network = PixelModule(as_model(Linear(torch.ones(3, SIDE, SIDE), 0.0)))
    pixels = np.array([0, 3, 252, 255], np.uint8)[:, None, None, None].repeat(SIDE, 1)
    pixels = pixels.repeat(SIDE, 2).repeat(3, 3)
    settings = {"epsilon": 8, "n_steps": 3, "device": CPU}
    brighter = change_adversarially(network, pixels, np.zeros(4, int), **settings)
    darker = change_adversarially(network, pixels, np.ones(4, int), **settings)
    assert brighter[:, 0, 0, 0].tolist() == [8, 11, 255, 255]
    assert darker[:, 0, 0, 0].tolist() == [0, 0, 244, 247]


def test_several_labels_are_attacked_class_by_class():
    weights = torch.zeros(3, SIDE, SIDE)
    weights[0, 0, 0], weights[1, 1, 1] = 1, -1

    class TwoLabels(nn.Module):
        def forward(self, images):
            return torch.stack([images[:, 0, 0, 0], -images[:, 1, 1, 1]], 1)

    pixels = np.full((1, SIDE, SIDE, 3), 100, np.uint8)
    settings = {"epsilon": 2, "n_steps": 1, "device": CPU}
    network = PixelModule(as_model(TwoLabels()))
    attacked = change_adversarially(network, pixels, np.array([[1, 0]], np.uint8), **settings)
    # The first label is present: its logit falls. The second is absent: its logit grows.
    assert (attacked[0, 0, 0, 0], attacked[0, 1, 1, 1]) == (98, 98)
    assert (attacked != pixels).sum() == 2


@pytest.mark.parametrize("method", ["mean", "weighted", "greedy", "logistic", "dense"])
def test_the_stack_is_attacked_through_its_members(method):
    """Two members look at one pixel each; an attack on the stack changes both pixels."""
    networks = {}
    for place, name in enumerate("ab"):
        weights = torch.zeros(3, SIDE, SIDE)
        weights[0, 0, place] = 20
        networks[name] = PixelModule(as_model(Linear(weights, -10.0)))
    pixels = RANDOM.integers(0, 256, (300, SIDE, SIDE, 3), np.uint8)
    labels = (pixels[:, 0, :2, 0].sum(1, dtype=int) > 255).astype(int)
    images = torch.from_numpy(pixels / np.float32(255)).permute(0, 3, 1, 2)
    logits = {name: network(images).numpy() for name, network in networks.items()}
    ensemble, _ = fit_ensemble(logits, labels, method=method, settings=STACK, seed=1)
    stack = StackedModule(ensemble, networks).eval()
    attacked = change_adversarially(stack, pixels, labels, epsilon=8, n_steps=1, device=CPU)
    changed = (attacked != pixels).any(axis=0)[..., 0]
    assert changed[0, :2].all()
    assert changed.sum() == 2
    before = stack(images).argmax(1).numpy() == labels
    after = stack(torch.from_numpy(attacked / np.float32(255)).permute(0, 3, 1, 2))
    assert (after.argmax(1).numpy() == labels).sum() < before.sum()
