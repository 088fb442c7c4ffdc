"""The learning rate range test: its learning rates, its suggestion, and its errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from classifold.data.csv_file import read_rows
from classifold.errors import UserError
from classifold.models.feature_cache import FeatureCache
from classifold.models.model_file import build_network
from classifold.reporting.lr_plot import write_lr_plot
from classifold.search.lr_finder import RangeTest, run_range_test
from classifold.training.loop import fit
from command_line import classifold, error_of
from shared_fixtures import noisy_pack
from tiny_model import NO_POLICY, config_of, write_params

ROOT = Path(__file__).parents[1]
CONFIG = config_of(noisy_pack(), phases={})
SGD = {"name": "sgd"}


def phases_of(optimizer, **changes):
    phase = {"epochs": 3, "trainable": "all", "schedule": {"name": "constant"}} | changes
    return {"p1": phase | {"optimizer": optimizer}}


@pytest.fixture
def try_rates(machine, tiny_mlp):
    def run(pack, optimizer=SGD, *, network=None, config=CONFIG, trainable="all", **changes):
        settings = {"lowest": 1e-5, "highest": 100.0, "n_steps": 60} | changes
        # Neither the rate nor the schedule of the phase counts.
        schedule = {"name": "one_cycle", "pct_start": 0.3, "div_factor": 9, "final_div_factor": 9}
        phases = phases_of(optimizer | {"lr": 123.0}, trainable=trainable, schedule=schedule)
        config = config._replace(phases=phases)
        options = {"policy": NO_POLICY, "machine": machine} | settings
        return run_range_test(network or tiny_mlp(), pack, config=config, **options)

    return run


@pytest.mark.parametrize("optimizer", [SGD, SGD | {"momentum": 0.9}, {"name": "adam"}])
def test_the_suggested_rate_learns_but_a_thousandth_of_it_does_not(
    draw_pack, tiny_mlp, machine, try_rates, optimizer
):
    pack = draw_pack(48)
    rate = try_rates(pack, optimizer).suggestion()

    def loss_after(factor):
        config = CONFIG._replace(phases=phases_of(optimizer | {"lr": factor * rate}))
        fitted = fit(tiny_mlp(), pack, pack, config=config, policy=NO_POLICY, machine=machine)
        return fitted.history[-1]["validation_loss"]

    assert loss_after(1) < 0.2
    assert loss_after(0.001) > 0.9  # of log 3 = 1.1


def test_rates_are_evenly_spaced_and_end_when_the_loss_diverges(draw_pack, try_rates):
    pack = draw_pack(48)
    # Random labels cannot be learned, least of all with large steps.
    pack = pack._replace(labels=np.random.default_rng(0).permutation(pack.labels))
    found = try_rates(pack, highest=1e6, trainable="head")
    n_tried = len(found.rates)
    assert 10 < n_tried < 60
    assert len(found.losses) == len(found.smoothed) == n_tried
    np.testing.assert_allclose(found.rates, np.geomspace(1e-5, 1e6, 60)[:n_tried])
    assert np.isfinite(found.losses).all()


def test_all_low_rates_are_tried_and_losses_are_smoothed(draw_pack, try_rates):
    found = try_rates(draw_pack(33), lowest=1e-4, highest=0.1, n_steps=30)
    assert len(found.rates) == 30  # more than two epochs
    assert (found.rates[0], found.rates[-1]) == pytest.approx((1e-4, 0.1))
    # Weights are a normal density with a standard deviation of 0.04 * 30 steps.
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 1.2) ** 2)
    expected = (found.losses[10:21] * weights).sum() / weights.sum()
    assert found.smoothed[15] == pytest.approx(expected)


def test_losses_do_not_depend_on_the_number_of_micro_batches(draw_pack, try_rates):
    whole, cut = (
        try_rates(
            draw_pack(32),
            config=CONFIG._replace(gradient_accumulation_steps=n),
            **{"n_steps": 20, "highest": 0.1},
        )
        for n in (1, 3)
    )
    np.testing.assert_allclose(whole.losses, cut.losses, rtol=1e-4)
    assert 0.5 < whole.losses[0] < 3  # about log 3


def test_layers_keep_their_factors_and_frozen_layers_do_not_change(draw_pack, tiny_mlp, try_rates):
    def moved(optimizer=SGD, **changes):
        network = tiny_mlp()
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        rates = {"lowest": 0.001, "highest": 0.01, "n_steps": 2}
        try_rates(draw_pack(32), optimizer, network=network, **rates, **changes)
        return {
            name: (p.detach() - before[name]).norm().item()
            for name, p in network.named_parameters()
        }

    plain = moved()
    halved = moved(SGD | {"lr_factors": {"head": 0.5}})
    # The second step's gradients differ a little.
    assert halved["head.weight"] == pytest.approx(plain["head.weight"] / 2, rel=0.05)
    assert halved["hidden.1.weight"] == pytest.approx(plain["hidden.1.weight"], rel=0.05)
    frozen = moved(trainable="head")
    assert frozen["hidden.1.weight"] == 0 < frozen["head.weight"]


def test_the_phase_to_try_is_the_first_or_comes_after_those_before_it(draw_pack, tiny_mlp, machine):
    pack, sgd = draw_pack(32), SGD | {"lr": 0.2}
    head = phases_of(sgd, trainable="head", epochs=8)["p1"]
    config = CONFIG._replace(phases={"layers": phases_of(sgd)["p1"], "head": head})
    rates = {"lowest": 1e-6, "highest": 1e-5, "n_steps": 2}
    options = {"config": config, "policy": NO_POLICY, "machine": machine, **rates}
    networks = tiny_mlp(), tiny_mlp()
    before = networks[0].hidden[1].weight.detach().clone()
    first = run_range_test(networks[0], pack, **options)  # the first one by name
    assert torch.equal(networks[0].hidden[1].weight, before)
    second = run_range_test(networks[1], pack, validation=pack, phase="layers", **options)
    assert second.losses[0] < first.losses[0] - 0.1  # the head was trained before
    assert not torch.equal(networks[1].hidden[1].weight, before)


@pytest.mark.parametrize("gradient_clip_norm", [None, 1.0])
def test_rates_that_are_all_too_high_are_refused(draw_pack, try_rates, gradient_clip_norm):
    config = CONFIG._replace(gradient_clip_norm=gradient_clip_norm)
    found = try_rates(draw_pack(48), lowest=1e5, highest=1e30, config=config)
    with pytest.raises(UserError, match=r"the loss did not decrease.*--lowest"):
        found.suggestion()


def test_the_suggestion_is_where_the_loss_decreases_most_steeply_by_hand():
    rates = np.exp(np.arange(6.0))
    smoothed = np.array([3.0, 2.9, 2.5, 1.5, 1.4, 6.0])
    # Half the difference of the neighbors: -0.25, -0.7, -0.55 at the second to the fourth rate;
    # after the lowest loss nothing counts.
    assert RangeTest(rates, smoothed, smoothed).suggestion() == pytest.approx(np.exp(2))


@pytest.mark.parametrize("smoothed", [[1.0, 1.1, 1.3, 2.0], [1.0, 0.99, 1.3, 2.0]])
def test_a_loss_that_only_increases_gives_no_suggestion(smoothed):
    smoothed = np.array(smoothed)
    with pytest.raises(UserError, match="the loss did not decrease"):
        RangeTest(np.geomspace(0.1, 1, 4), smoothed, smoothed).suggestion()


def test_a_decrease_smaller_than_the_noise_gives_no_suggestion():
    smoothed = np.linspace(1.1, 1.05, 20)
    rates = np.geomspace(1e-5, 1, 20)
    quiet, loud = (smoothed + step * (-1.0) ** np.arange(20) for step in (0.04, 0.06))
    assert RangeTest(rates, quiet, smoothed).suggestion() in rates
    with pytest.raises(UserError, match="the loss did not decrease"):
        RangeTest(rates, loud, smoothed).suggestion()


@pytest.mark.parametrize("losses", [[3.0, 2.9, 2.5, 1.5, 1.4, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
def test_the_plot_and_the_numbers_are_written_even_without_a_suggestion(tmp_path, losses):
    rates, losses = np.geomspace(1e-5, 1, 6), np.array(losses)
    write_lr_plot(tmp_path / "rates.svg", RangeTest(rates, losses, losses / 2), model="m")
    picture = (tmp_path / "rates.svg").read_text()
    assert picture.count("<svg") == 1
    rows = read_rows(tmp_path / "rates.csv")
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(rates.tolist())
    assert [float(row["loss"]) for row in rows] == losses.tolist()
    assert [float(row["smoothed"]) for row in rows] == (losses / 2).tolist()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x.jpg", "--out: must end with .png or .svg or .pdf, got 'x.jpg'"),
        ("new/x.png", "--out: new is not a folder, got new/x.png. Create it"),
    ],
)
def test_a_figure_that_cannot_be_written_is_refused_before_training(
    tmp_path, monkeypatch, out, message
):
    monkeypatch.chdir(tmp_path)
    assert error_of(classifold("lr-find", "mlp", "--out", out)).startswith(message)


def test_rates_are_tried_on_features_of_a_frozen_body(draw_pack, try_rates, tmp_path):
    pack = draw_pack(48)
    plain = try_rates(pack, trainable="head")
    cached = try_rates(pack, trainable="head", cache=FeatureCache(tmp_path))
    assert list(tmp_path.glob("*.npy"))
    n_steps = min(len(plain.losses), len(cached.losses)) - 5  # at the end the loss diverges
    assert n_steps > 30
    np.testing.assert_allclose(cached.losses[:n_steps], plain.losses[:n_steps], rtol=0.01)


def test_images_that_grow_have_the_size_of_the_middle_epoch(draw_pack, try_rates):
    network = build_network(
        "small_resnet", n_classes=3, image_size=16, arguments={"widths": [16], "depth": 1}
    )
    sides = []
    network.register_forward_pre_hook(lambda _, images: sides.append(images[0].shape[-1]))
    config = CONFIG._replace(image_size=16, train_size=[4, 20])
    # More steps than in the three epochs of the phase.
    try_rates(draw_pack(8, size=16), network=network, config=config, highest=1e-3)
    assert sides == [12] * 60


def test_a_probe_has_no_learning_rate(tmp_path, monkeypatch, write_packs):
    monkeypatch.chdir(tmp_path)
    head = {"name": "neighbors", "k": 5}
    model = {"network": "probe", "arguments": {"name": "resnet18"}, "head": head}
    write_params(tmp_path, {"normalize": "half", "online": "none", "seed": 1} | model)
    write_packs(tmp_path / "data/augmented", train=6, validation=6)
    error = error_of(classifold("lr-find", "m"))
    assert error.startswith("models.m.network: must be trained in phases, got probe")
