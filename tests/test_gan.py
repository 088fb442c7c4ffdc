"""Generated images: networks, training, quality measures, and gains from adding them."""

import copy
import math
import os
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from classifold.data.pack import read_pack
from classifold.errors import UserError
from classifold.gan import added_images
from classifold.gan.added_images import Classifier, Gan, HeldOutPredictions, add_generated
from classifold.gan.discriminator import Discriminator
from classifold.gan.distances import frechet_distance, nearest_distance, precision_recall
from classifold.gan.files import load_generator, save_generator, save_images
from classifold.gan.gain import compare
from classifold.gan.generator import Generator
from classifold.gan.loop import FittedGan, Grid, fit_gan
from classifold.gan.losses import LOSSES, gradient_penalty
from classifold.gan.quality import measure_quality
from classifold.gan.sampling import generate, generated_pack, sample_labels, sample_noise
from classifold.gan.trainer import GanConfig, GanTrainer, new_generator
from classifold.models.model_file import Model, new_network
from interruptions import Stopped, bits_of, interrupted, stopping_at_call
from shared_fixtures import with_variants
from tiny_model import MODEL, NO_POLICY, PHASE, config_of

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


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        # Means 1 and 7, variances 2 and 8: 36 + (sqrt 2 - sqrt 8)^2.
        ([[0], [2]], [[5], [9]], 38.0),
        # Means (0, 0) and (3, 4), variances (2/3, 8/3) and (8/3, 2/3): 25 + 2 x 2/3.
        ([[1, 0], [-1, 0], [0, 2], [0, -2]], [[5, 4], [1, 4], [3, 5], [3, 3]], 25 + 4 / 3),
        ([[1, 2, 3], [4, 6, 8]], [[1, 2, 3], [4, 6, 8]], 0.0),
    ],
)
def test_frechet_distance_by_hand(first, second, distance):
    arrays = np.array(first, float), np.array(second, float)
    assert frechet_distance(*arrays) == pytest.approx(distance, abs=1e-7)
    assert frechet_distance(*arrays[::-1]) == pytest.approx(distance, abs=1e-7)


def test_frechet_distance_agrees_with_the_root_of_a_matrix():
    random = np.random.default_rng(1)
    first = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
    second = random.normal(size=(300, 6)) @ random.normal(size=(6, 6)) + 2
    one, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    expected = np.square(first.mean(0) - second.mean(0)).sum() + np.trace(
        one + other - 2 * sqrtm(one @ other).real
    )
    assert frechet_distance(first, second) == pytest.approx(expected)
    turned, _ = np.linalg.qr(random.normal(size=(6, 6)))
    assert frechet_distance(first @ turned, second @ turned) == pytest.approx(expected)
    assert frechet_distance(first, first + np.array([3, 0, 0, 4, 0, 0])) == pytest.approx(25)


def test_precision_and_recall_by_hand():
    # Radii to the nearest: 1, 1, 1, 8 in the reference, 0.1, 0.1 and 19.4 in the generated set.
    reference, generated = np.array([[0.0], [1], [2], [10]]), np.array([[0.5], [0.6], [20]])
    precision, recall = precision_recall(reference, generated, neighbors=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(3 / 4)


def test_the_nearest_distance_is_a_median():
    assert nearest_distance(np.array([[0.0], [4], [11]]), to=np.array([[1.0], [10]])) == 1.0


@pytest.fixture
def model(tiny_mlp):
    preprocessing = {"image_size": 8, "normalize": "half"}
    return Model(tiny_mlp(), ["class0", "class1", "class2"], preprocessing, {})


@pytest.fixture
def quality_of(model):
    def measure(real, generated, untrained, *, model=model, neighbors=2):
        settings = {"model": model, "neighbors": neighbors, "seed": 1, "device": CPU}
        return measure_quality(real, generated, untrained, **settings)

    return measure


def test_quality_is_best_for_real_images_and_worst_for_noise(draw_pack, quality_of):
    real = draw_pack(120)
    good, poor = draw_pack(60, seed=4), draw_pack(60, seed=5)
    poor = poor._replace(images=255 - poor.images)
    quality = quality_of(real, good, poor, neighbors=3)
    assert quality["n_images"] == 60
    for better in ("real", "generated"):
        assert quality[better]["frechet_distance"] < quality["untrained"]["frechet_distance"]
    assert quality["generated"]["precision"] > 0.8 > quality["untrained"]["precision"]
    assert quality["noise"]["precision"] == 0
    assert "agreement" not in quality["noise"]


def test_agreement_is_the_fraction_of_images_with_the_predicted_class(draw_pack, quality_of):
    real = draw_pack(60)
    everything = quality_of(real, real, real)["generated"]
    other = quality_of(real, real._replace(labels=(real.labels + 1) % 3), real)
    unconditional = real._replace(labels=0 * real.labels, classes=["generated"])
    assert "agreement" not in quality_of(real, unconditional, real)["generated"]
    by_class = list(everything["agreement_by_class"].values())
    assert np.mean(by_class) == pytest.approx(everything["agreement"])  # of one size
    assert other["generated"]["agreement"] + everything["agreement"] <= 1
    assert other["generated"]["frechet_distance"] == everything["frechet_distance"]


def test_quality_refuses_a_model_of_other_classes_and_too_few_images(draw_pack, model, quality_of):
    real = draw_pack(12)
    with pytest.raises(UserError, match=r"sample_gan.model: .*3: .*got 2: a, b"):
        quality_of(real, real, real, model=model._replace(classes=["a", "b"]))
    with pytest.raises(UserError, match=r"sample_gan.neighbors: .*got 6"):
        quality_of(real, real, real, neighbors=6)


def run_added(
    pack, machine, folder, *, config=SMALL, generated_per_real=1.0, variants=False, n_folds=3
):
    n_images = len(pack.originals().labels)
    settings = {name: MODEL[name] for name in ("image_size", "arguments")}
    network = new_network("mlp", n_classes=3, seed=1, **settings)
    training = config_of(pack, phases={"p1": PHASE | {"epochs": 2}})
    return add_generated(
        pack,
        np.arange(n_images) // 3 % n_folds + 1,
        gan=Gan(config._replace(epochs=1), NO_POLICY, variants, {"rows": 3, "columns": 2}),
        classifier=Classifier(network, training, NO_POLICY),
        generated_per_real=generated_per_real,
        seed=1,
        machine=machine,
        checkpoints=folder,
        key="key",
    )


@pytest.fixture
def training_runs(monkeypatch):
    """The arguments of each training run: (GAN or model, images, validation, first weights)."""
    seen = []

    def fit_gan_watched(train, **settings):
        seen.append(("gan", train, None, None))
        return fit_gan(train, **settings)

    def fit_watched(network, train, validation, **settings):
        weights = copy.deepcopy(network.state_dict())
        seen.append(("model", train, validation, weights))
        return real_fit(network, train, validation, **settings)

    real_fit = added_images.fit
    monkeypatch.setattr(added_images, "fit_gan", fit_gan_watched)
    monkeypatch.setattr(added_images, "fit", fit_watched)
    return seen


@pytest.mark.parametrize("variants", [False, True])
def test_no_training_uses_images_of_the_held_out_fold(
    draw_pack, machine, tmp_path, training_runs, variants
):
    pack = with_variants(draw_pack(36), 1)
    predictions = run_added(pack, machine, tmp_path, variants=variants)
    assert set(predictions.predicted) == {"repeated", "generated", "augmented"}
    ids = np.array(pack.originals().ids)
    for fold in (1, 2, 3):
        gan, *models = training_runs[4 * (fold - 1) : 4 * fold]
        held_out = set(ids[predictions.folds == fold])
        selecting = set(ids[predictions.folds == fold % 3 + 1])
        assert set(gan[1].ids) == set(ids) - held_out - selecting
        assert set(gan[1].variants) == ({0, 1} if variants else {0})
        for _, train, validation, _ in models:
            real = {name for name in train.ids if not name.startswith("generated/")}
            assert real == set(gan[1].ids)
            assert set(validation.ids) == selecting
            assert set(validation.variants) == {0}


def test_kinds_differ_only_in_the_source_of_added_images(
    draw_pack, machine, tmp_path, training_runs
):
    run_added(with_variants(draw_pack(36), 1), machine, tmp_path, generated_per_real=0.5)
    models = [entry for entry in training_runs if entry[0] == "model"]
    assert len(models) == 9
    for _, train, _, weights in models:
        assert len(train.labels) == 12 + 6
        assert all(torch.equal(weights[name], models[0][3][name]) for name in weights)
    repeated, generated, augmented = (train for _, train, *_ in models[:3])
    assert len(set(repeated.ids)) == 12  # the added images are repetitions
    assert (repeated.variants == 0).all()
    assert set(augmented.variants[12:]) == {1}
    assert sum(name.startswith("generated/") for name in generated.ids) == 6
    assert (generated.images[:12] == repeated.images[:12]).all()


def test_an_interrupted_comparison_resumes_in_the_same_fold(
    draw_pack, machine, tmp_path, monkeypatch, capsys
):
    pack = draw_pack(36)
    whole = run_added(pack, machine, tmp_path / "whole")
    monkeypatch.setattr(added_images, "fit", stopping_at_call(4, added_images.fit))
    with pytest.raises(Stopped):
        run_added(pack, machine, tmp_path / "cut")
    capsys.readouterr()
    resumed = run_added(pack, machine, tmp_path / "cut")
    output = capsys.readouterr().out
    assert "fold 1/3: finished before the interruption" in output
    assert "resuming after epoch" in output
    for kind, predicted in whole.predicted.items():
        assert predicted.tolist() == resumed.predicted[kind].tolist()


def test_adding_needs_a_conditional_gan_and_one_label_per_image(
    draw_pack, draw_multi_pack, machine, tmp_path
):
    unconditional = SMALL._replace(conditional=False)
    for pack, config in ((draw_pack(36), unconditional), (draw_multi_pack(36), SMALL)):
        message = r"(?s)add_generated: .*Set train_gan.conditional to true"
        with pytest.raises(UserError, match=message):
            run_added(pack, machine, tmp_path, config=config)


def test_gains_by_hand():
    labels = np.zeros(8, int)
    predicted = {
        "repeated": np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        "generated": np.array([0, 0, 0, 1, 0, 0, 1, 1]),
    }
    folds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    compared = compare(HeldOutPredictions(folds, predicted), labels)
    repeated, generated = compared["repeated"], compared["generated"]
    assert (repeated["accuracy"], repeated["accuracy_by_fold"]) == (0.5, [1.0, 0.0])
    assert "gain" not in repeated
    assert (generated["accuracy"], generated["gain"]) == (5 / 8, pytest.approx(1 / 8))
    assert generated["gain_p_value"] == 1.0  # two to one
    low, high = generated["gain_ci95"]
    assert low < 0 < 1 / 8 < high
    equal = predicted | {"generated": predicted["repeated"]}
    same = compare(HeldOutPredictions(folds, equal), labels)
    low, high = same["generated"]["gain_ci95"]
    assert low == -high < 0  # other images may tell the two apart


def test_the_result_of_a_training_is_the_moving_average_of_the_weights(draw_pack, machine):
    fitted, last = (fit_small(draw_pack(40), machine, ema_decay=decay) for decay in (0.99, 1e-9))
    assert isinstance(fitted, FittedGan)
    assert fitted.history == last.history  # the average does not affect training
    weights = (one.generator.last.weight for one in (fitted, last))
    first = new_generator(SMALL, n_classes=3, image_size=8).last.weight
    averaged, latest = ((weight - first).abs().max() for weight in weights)
    assert averaged < latest / 2
