"""Steps of a phase: micro-batches, clipping, moving average."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from classifold.models.model_file import build_network
from classifold.training.freezing import train_mode
from classifold.training.losses import make_loss
from classifold.training.phase import Phase

SGD = {"name": "sgd", "lr": 0.1}
LOSS = make_loss(name="cross_entropy", task="single")


def phase_of(network, machine, *, ema_decay=None, gradient_clip_norm=None, **changes):
    settings = {"epochs": 4, "trainable": "all", "schedule": {"name": "constant"}}
    settings |= {"optimizer": SGD} | changes
    averaging = {"ema_decay": ema_decay, "gradient_clip_norm": gradient_clip_norm}
    return Phase(network, settings, machine=machine, steps_per_epoch=1, **averaging)


@pytest.fixture
def images():
    """Nine images of noise with their targets."""
    drawn = torch.randn(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return drawn, torch.eye(3)[[0, 1, 2] * 3]


def step(phase, images, *, micro_batches=1, factor=1.0):
    """One step; the network's weights after it, in one row."""
    inputs, targets = images
    batches = (values.tensor_split(micro_batches) for values in (inputs, targets))
    for number, (batch, labels) in enumerate(zip(*batches, strict=True), start=1):
        loss = LOSS(phase.module(batch), labels).sum() / len(inputs)
        phase.backward(factor * loss, ends_step=number == micro_batches)
    return row_of(phase.network)


def row_of(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("n_micro", [2, 4, 9])
@pytest.mark.parametrize("gradient_clip_norm", [None, 0.1])
def test_a_step_of_micro_batches_equals_the_step_of_one_batch(
    tiny_mlp, machine, images, n_micro, gradient_clip_norm
):
    optimizer = SGD | {"momentum": 0.9}
    whole, cut = (
        phase_of(tiny_mlp(), machine, optimizer=optimizer, gradient_clip_norm=gradient_clip_norm)
        for _ in range(2)
    )
    before = row_of(whole.network)
    for _ in range(3):  # micro-batches of 4 and 5 images, of 2 and 3, of 1
        torch.testing.assert_close(step(whole, images), step(cut, images, micro_batches=n_micro))
    assert (row_of(whole.network) - before).norm() > 0.03


def test_weights_change_only_after_the_last_micro_batch_of_a_step(tiny_mlp, machine, images):
    phase = phase_of(tiny_mlp(), machine, ema_decay=0.5)
    before = row_of(phase.network)
    inputs, targets = images
    for _ in range(2):
        phase.backward(LOSS(phase.module(inputs), targets).mean(), ends_step=False)
    assert torch.equal(row_of(phase.network), before)
    assert torch.equal(row_of(phase.averaged), before)


def test_the_moving_average_keeps_the_statistics_of_frozen_batch_norms(machine):
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(OrderedDict(body=nn.Sequential(*layers), head=nn.Linear(4, 3)))
    norm = network.body[1]
    norm.running_mean.normal_()
    expected = norm.running_mean.clone()
    phase = phase_of(network, machine, ema_decay=0.7, freeze_batch_norm=True)
    train_mode(network)
    for _ in range(3):
        step(phase, (torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])))
    assert torch.equal(phase.averaged.body[1].running_mean, expected)
    assert not torch.equal(phase.averaged.body[0].weight, network.body[0].weight)


def test_clipping_bounds_the_norm_of_the_gradient_and_keeps_its_direction(
    tiny_mlp, machine, images
):
    sgd = {"name": "sgd", "lr": 1.0}
    plain, clipped = (
        phase_of(tiny_mlp(), machine, optimizer=sgd, gradient_clip_norm=norm)
        for norm in (None, 0.25)
    )
    before = row_of(plain.network)
    gradient = before - step(plain, images)  # a step of rate 1 is the gradient
    bounded = before - step(clipped, images)
    assert gradient.norm() > 1
    assert bounded.norm().item() == pytest.approx(0.25, rel=1e-4)
    torch.testing.assert_close(bounded, gradient * (0.25 / gradient.norm()), rtol=1e-3, atol=1e-6)


def test_clipping_does_not_change_a_gradient_below_its_bound(tiny_mlp, machine, images):
    plain, clipped = (
        phase_of(tiny_mlp(), machine, gradient_clip_norm=norm) for norm in (None, 100.0)
    )
    assert torch.equal(step(plain, images), step(clipped, images))


def test_clipping_counts_only_trainable_parameters(tiny_mlp, machine, images):
    network = tiny_mlp()
    settings = {"trainable": "head", "optimizer": {"name": "sgd", "lr": 1.0}}
    phase = phase_of(network, machine, **settings, gradient_clip_norm=0.01)
    before = row_of(network)
    moved = step(phase, images) - before
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)
    n_head = 16 * 3 + 3
    assert not moved[:-n_head].any()


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_the_moving_average_of_weights_by_hand(tiny_mlp, machine, images, decay):
    phase = phase_of(tiny_mlp(), machine, optimizer=SGD | {"lr": 0.5}, ema_decay=decay)
    expected = step(phase, images)  # begins with the weights after the first step
    for _ in range(4):
        moving = step(phase, images)
        expected = decay * expected + (1 - decay) * moving
        torch.testing.assert_close(row_of(phase.averaged), expected, rtol=1e-5, atol=1e-7)
    assert (moving - expected).abs().max() > 0.01
    assert torch.equal(row_of(phase.network), moving)


def test_the_average_is_of_the_statistics_of_norms_too(machine, images):
    network = build_network(
        "small_resnet", n_classes=3, image_size=8, arguments={"widths": [8], "depth": 1}
    )
    network.train()
    phase = phase_of(network, machine, ema_decay=0.75)
    means = []
    for factor in (1.0, 3.0):
        step(phase, (images[0] * factor, images[1]))
        means.append(network.norm.running_mean.clone())
    expected = 0.75 * means[0] + 0.25 * means[1]
    torch.testing.assert_close(phase.averaged.norm.running_mean, expected)
    assert (means[0] - means[1]).abs().max() > 1e-3


def test_without_a_moving_average_the_network_itself_is_saved(tiny_mlp, machine):
    network = tiny_mlp()
    assert phase_of(network, machine).averaged is network


def test_the_logged_rate_is_the_highest_of_all_layers(tiny_mlp, machine):
    optimizer = SGD | {"lr_factors": {"hidden": 0.1, "head": 3.0}}
    assert phase_of(tiny_mlp(), machine, optimizer=optimizer).learning_rate == pytest.approx(0.3)


def test_the_summary_has_the_rates_of_all_steps(tiny_mlp, machine, images):
    schedule = {"name": "cyclical", "min_lr": 0.02, "step_size": 4}
    phase = phase_of(tiny_mlp(), machine, schedule=schedule)
    for _ in range(4):  # at 0.02, 0.04, 0.06, 0.08; the next would be the highest, 0.1
        step(phase, images)
    losses = {"train_loss": 1.0, "validation_loss": 0.5}
    history = [
        losses | {"epoch": epoch, "validation_accuracy": epoch / 10} for epoch in (3, 4, 5, 6)
    ]
    assert phase.summary(history, history[1]) == {
        "n_epochs": 4,
        "first_epoch": 3,
        "last_epoch": 6,
        "best_epoch": 4,
        "lowest_learning_rate": pytest.approx(0.02),
        "highest_learning_rate": pytest.approx(0.08),
        "validation_loss": 0.5,
        "validation_accuracy": 0.4,
        "n_trainable_parameters": 192 * 16 + 16 + 16 * 3 + 3,
    }


def test_a_resumed_phase_continues_as_without_an_interruption(tiny_mlp, machine, images):
    settings = {
        "optimizer": {"name": "adam", "lr": 0.01, "amsgrad": True},
        "schedule": {"name": "cosine", "warmup_epochs": 1},
        "ema_decay": 0.8,
    }
    phase = phase_of(tiny_mlp(), machine, **settings)
    step(phase, images)
    other = phase_of(copy.deepcopy(phase.network), machine, **settings)
    other.load_state_dict(copy.deepcopy(phase.state_dict()))
    for _ in range(2):
        assert torch.equal(step(phase, images), step(other, images))
        assert torch.equal(row_of(phase.averaged), row_of(other.averaged))
    assert phase.learning_rate == other.learning_rate
