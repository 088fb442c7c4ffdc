"""Networks of generated images: their sizes, losses, training and files."""

import math
import os
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from classifold.data.pack import read_pack
from classifold.errors import UserError
from classifold.gan.discriminator import Discriminator
from classifold.gan.files import load_generator, save_generator, save_images
from classifold.gan.generator import Generator
from classifold.gan.loop import FittedGan, Grid, fit_gan
from classifold.gan.losses import LOSSES, gradient_penalty
from classifold.gan.sampling import generate, generated_pack, sample_labels, sample_noise
from classifold.gan.trainer import GanConfig, GanTrainer, new_generator
from interruptions import bits_of, interrupted
from tiny_model import NO_POLICY

CPU = torch.device("cpu")
SMALL = GanConfig(
    generator={"noise": 8, "embedding": 4, "widths": [16, 16, 8]},
    discriminator={"widths": [8, 16], "dense": 16},
    conditional=True,
    loss="non_saturating",
    gradient_penalty=0.0,
    optimizer={"lr": 0.002, "betas": [0.5, 0.999]},
    ema_decay=0.9,
    batch_size=16,
    epochs=3,
    seed=1,
)
# Nowozin's lecture, 2018, for Tiny ImageNet, as in report 000.
LECTURE = {"noise": 128, "embedding": 1, "widths": [512, 256, 128, 64, 32]}


@pytest.fixture
def dark_and_bright(draw_pack):
    """Noisy squares of two classes that differ in brightness alone."""
    pack = draw_pack(128, n_classes=2)
    noise = np.random.default_rng(7).normal(0, 15, pack.images.shape)
    levels = np.where(pack.labels == 1, 215, 40)[:, None, None, None]
    return pack._replace(images=np.clip(levels + noise, 0, 255).astype(np.uint8))


def fit_small(pack, machine, **changes):
    return fit_gan(pack, config=SMALL._replace(**changes), policy=NO_POLICY, machine=machine)


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_unconditional_networks_have_the_sizes_of_the_lecture_behind_report_000():
    generator = Generator(0, image_size=64, **LECTURE)
    dense = 128 * 8192 + 8192 + 2 * 8192
    doublings = sum(
        a * b * 16 + b + 2 * b for a, b in [(512, 256), (256, 128), (128, 64), (64, 32)]
    )
    assert n_parameters(generator) == dense + doublings + 32 * 3 * 9 + 3 == 3_860_739

    discriminator = Discriminator(0, image_size=64, widths=[64, 128, 256, 512], dense=512)
    halvings = sum(a * b * 16 + b + 2 * b for a, b in [(3, 64), (64, 128), (128, 256), (256, 512)])
    dense = 8192 * 512 + 512 + 2 * 512 + 512 + 1
    assert n_parameters(discriminator) == halvings + dense == 6_954_817


@given(doublings=st.integers(1, 4), side=st.integers(1, 4), n_classes=st.integers(0, 3))
def test_images_and_scores_have_their_shapes_at_every_size(doublings, side, n_classes):
    size = side * 2**doublings
    widths = [4] * (doublings + 1)
    generator = Generator(n_classes, image_size=size, noise=3, embedding=2, widths=widths)
    discriminator = Discriminator(n_classes, image_size=size, widths=widths[1:], dense=5)
    labels = torch.arange(6) % max(n_classes, 1)
    images = generator(torch.randn(6, 3), labels)
    assert images.shape == (6, 3, size, size)
    assert images.abs().max() <= 1
    assert discriminator(images, labels).shape == (6,)


def test_sizes_that_are_no_multiple_of_the_power_of_two_are_refused():
    message = r"^train_gan.{}.widths: .*multiple of 8, .*got 36"
    with pytest.raises(UserError, match=message.format("generator")):
        Generator(0, image_size=36, noise=2, embedding=1, widths=[4, 4, 4, 4])
    with pytest.raises(UserError, match=message.format("discriminator")):
        Discriminator(0, image_size=36, widths=[4, 4, 4], dense=2)


def test_losses_by_hand():
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -2.0])
    expected = math.log(2) + math.log(1 + math.exp(-2))  # of two images
    bce, hinge = LOSSES["non_saturating"], LOSSES["hinge"]
    assert bce.of_discriminator(real, fake).item() == pytest.approx(expected)
    assert bce.of_generator(fake).item() == pytest.approx(
        (math.log(2) + math.log(1 + math.exp(2))) / 2
    )
    assert hinge.of_discriminator(real, fake).item() == pytest.approx(0.5 + 0.5)
    assert hinge.of_generator(fake).item() == pytest.approx(1.0)


def test_the_penalty_of_a_linear_score_is_half_the_squared_norm_of_its_weights():
    images = torch.randn(5, 3, 4, 4, requires_grad=True)
    weights = torch.randn(3, 4, 4)
    penalty = gradient_penalty((images * weights).sum((1, 2, 3)), images)
    assert penalty.item() == pytest.approx(weights.square().sum().item() / 2, rel=1e-5)


def test_the_discriminator_loss_includes_the_penalty(machine):
    steps = {}
    inputs = torch.rand(8, 3, 8, 8), torch.arange(8) % 2, torch.randn(8, 8), torch.arange(8) % 2
    for penalty in (0.0, 5.0):
        config = SMALL._replace(gradient_penalty=penalty)
        trainer = GanTrainer(config, n_classes=2, image_size=8, machine=machine)
        trainer.discriminator.score.weight.data.fill_(0.5)
        trainer.train()
        steps[penalty] = trainer.step(*(tensor.clone() for tensor in inputs))
    assert steps[5.0][0] > steps[0.0][0]  # the loss of the same weights, and the penalty


def test_a_conditional_gan_generates_the_brightness_of_the_class(dark_and_bright, machine):
    fitted = fit_small(dark_and_bright, machine, epochs=30)
    noise = sample_noise(fitted.generator, 64, seed=5)
    dark, bright = (
        generate(fitted.generator, noise, np.full(64, label), device=CPU).mean((1, 2, 3))
        for label in (0, 1)
    )
    assert (bright - dark).min() > 80  # of 175 between the classes, image by image
    assert abs(dark.mean() - 40) < 40
    assert abs(bright.mean() - 215) < 40


def test_an_unconditional_generator_ignores_classes(dark_and_bright, machine):
    fitted = fit_small(dark_and_bright, machine, conditional=False, epochs=1)
    noise = sample_noise(fitted.generator, 8, seed=5)
    dark, bright = (
        generate(fitted.generator, noise, np.full(8, label), device=CPU) for label in (0, 1)
    )
    assert (dark == bright).all()
    pack = generated_pack(fitted.generator, dark_and_bright, 8, seed=1, device=CPU)
    assert pack.classes == ["generated"]
    assert pack.labels.tolist() == [0] * 8


def fitted_with(pack, machine, folder, checkpoint=None, **settings):
    fitted = fit_gan(
        pack,
        config=SMALL._replace(**settings),
        policy={"fill": "reflect", "steps": [{"flip": "horizontal"}]},
        machine=machine,
        checkpoint=checkpoint,
        grid=Grid(folder / "grids", rows=3, columns=4),
    )
    pictures = {path.name: path.read_bytes() for path in (folder / "grids").iterdir()}
    return fitted.history, bits_of(fitted.generator), pictures


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize(
    "settings", [{}, {"loss": "hinge", "gradient_penalty": 0.5, "conditional": False}]
)
def test_a_resumed_training_gives_the_same_bits_as_an_uninterrupted_one(
    draw_pack, machine, tmp_path, after, settings
):
    fit_into = partial(fitted_with, draw_pack(40), machine, **settings)
    history, weights, pictures = fit_into(tmp_path / "whole")
    assert len(history) == 3
    assert set(pictures) == {f"epoch_{epoch:04}.png" for epoch in range(4)}
    resumed = interrupted(partial(fit_into, tmp_path / "cut"), tmp_path, after=after)
    assert resumed == (history, weights, pictures)


def test_sample_grids_of_an_earlier_training_are_removed(draw_pack, machine, tmp_path):
    fitted_with(draw_pack(40), machine, tmp_path, epochs=2)
    *_, pictures = fitted_with(draw_pack(40), machine, tmp_path, epochs=1)
    assert set(pictures) == {"epoch_0000.png", "epoch_0001.png"}


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_setting(draw_pack, machine):
    message = r"^train_gan.optimizer.lr: .*NaN.*epoch \d, step \d, .*1e\+30"
    with pytest.raises(UserError, match=message):
        fit_small(draw_pack(40), machine, optimizer={"lr": 1e30, "betas": [0.5, 0.999]})


def test_multiple_labels_and_mixing_policies_are_refused(draw_pack, draw_multi_pack, machine):
    with pytest.raises(UserError, match=r"train_gan.conditional: must be false"):
        fit_small(draw_multi_pack(), machine)
    mixing = {"fill": "reflect", "steps": [{"mix": {"cutmix": 1.0}}]}
    with pytest.raises(UserError, match=r"train_gan.online: .*without the step mix"):
        fit_gan(draw_pack(), config=SMALL, policy=mixing, machine=machine)


def test_an_image_does_not_depend_on_those_generated_with_it():
    generator = new_generator(SMALL, n_classes=3, image_size=8)
    noise, labels = sample_noise(generator, 100, seed=3), np.arange(100) % 3
    together = generate(generator, noise, labels, device=CPU)
    rows = np.array([99, 0, 70, 41])
    assert (generate(generator, noise[rows], labels[rows], device=CPU) == together[rows]).all()
    assert len(np.unique(together, axis=0)) == 100


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 9))
def test_sampled_classes_have_the_proportions_of_the_labels(labels, times, seed):
    sampled = sample_labels(np.array(labels), times * len(labels), seed=seed)
    assert np.bincount(sampled, minlength=4).tolist() == [times * labels.count(i) for i in range(4)]


def test_a_generator_and_its_images_are_loaded_as_they_were_saved(draw_pack, tmp_path):
    pack = draw_pack(12)
    generator = new_generator(SMALL, n_classes=3, image_size=8)
    images = generated_pack(generator, pack, 20, seed=2, device=CPU)
    (tmp_path / "generator").mkdir()
    save_generator(
        tmp_path / "generator",
        generator,
        arguments=SMALL.generator,
        classes=pack.classes,
        training={"precision": "fp32"},
    )
    loaded = load_generator(tmp_path / "generator")
    assert loaded.description["precision"] == "fp32"
    again = generated_pack(loaded.network, pack, 20, seed=2, device=CPU)
    save_images(tmp_path / "images", images)
    read = read_pack(tmp_path / "images")
    assert (read.images == again.images).all()
    assert read.labels.tolist() == again.labels.tolist()
    assert read.classes == pack.classes
    (tmp_path / "generator/weights.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match=r"generator: cannot be read.*train_gan.py"):
        load_generator(tmp_path / "generator")


def test_a_generator_with_weights_that_are_not_finite_or_a_pipe_is_refused(tmp_path):
    generator = new_generator(SMALL, n_classes=3, image_size=8)
    with torch.no_grad():
        next(generator.parameters()).fill_(torch.nan)
    classes = ["a", "b", "c"]
    save_generator(tmp_path, generator, arguments=SMALL.generator, classes=classes, training={})
    with pytest.raises(UserError, match=r"must hold finite numbers, got NaN.*train_gan\.py"):
        load_generator(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    os.mkfifo(tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"got a pipe or a device.*train_gan\.py"):
        load_generator(tmp_path)


def test_the_result_of_a_training_is_the_moving_average_of_the_weights(draw_pack, machine):
    fitted, last = (fit_small(draw_pack(40), machine, ema_decay=decay) for decay in (0.99, 1e-9))
    assert isinstance(fitted, FittedGan)
    assert fitted.history == last.history  # the average does not affect training
    weights = (one.generator.last.weight for one in (fitted, last))
    first = new_generator(SMALL, n_classes=3, image_size=8).last.weight
    averaged, latest = ((weight - first).abs().max() for weight in weights)
    assert averaged < latest / 2
