"""Generated images: networks, training that goes on, measures of quality, what adding them does."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from classifold.data.pack import join, read_pack
from classifold.errors import UserError
from classifold.gan import added
from classifold.gan.added import Answers, Gan, Small, add_generated, compare
from classifold.gan.adversaries import Adversaries, GanRecipe, new_generator
from classifold.gan.discriminator import Discriminator
from classifold.gan.distances import (
    frechet_distance,
    nearest_distance,
    precision_recall,
)
from classifold.gan.drawing import draw_noise, generate, generated_pack, like_labels
from classifold.gan.files import load_generator, save_generator, save_images
from classifold.gan.generator import Generator
from classifold.gan.loop import FittedGan, Grid, fit_gan
from classifold.gan.losses import LOSSES, gradient_penalty
from classifold.gan.quality import measure_quality
from classifold.models.model_file import Model, new_network
from classifold.training.checkpoints import Checkpoint
from classifold.training.recipe import Recipe

CPU = torch.device("cpu")
NO_POLICY = {"fill": "reflect", "steps": []}
SMALL = GanRecipe(
    generator={"noise": 8, "embedding": 4, "widths": [16, 16, 8]},
    discriminator={"widths": [8, 16], "dense": 16},
    conditional=True,
    loss="non_saturating",
    penalty=0.0,
    optimizer={"lr": 0.002, "betas": [0.5, 0.999]},
    ema_decay=0.9,
    batch_size=16,
    epochs=3,
    seed=1,
)
# Nowozin's lecture, 2018, for Tiny ImageNet: what report 000 took over.
LECTURE = {"noise": 128, "embedding": 1, "widths": [512, 256, 128, 64, 32]}


class Stopped(BaseException):
    """Stands for a stop at a moment nobody chose."""


class StoppingCheckpoint(Checkpoint):
    """Stops the training right after so many epochs were saved."""

    def __init__(self, path, *, after):
        super().__init__(path, "key")
        self.left = after

    def save(self, state):
        super().save(state)
        self.left -= 1
        if self.left == 0:
            raise Stopped


@pytest.fixture
def dark_and_bright(draw_pack):
    """Noisy squares of two classes that differ in nothing but brightness."""
    pack = draw_pack(128, n_classes=2)
    noise = np.random.default_rng(7).normal(0, 15, pack.images.shape)
    levels = np.where(pack.labels == 1, 215, 40)[:, None, None, None]
    return pack._replace(images=np.clip(levels + noise, 0, 255).astype(np.uint8))


def n_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_asked_for_no_class_the_networks_are_those_of_the_lecture_behind_report_000():
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


@given(
    doublings=st.integers(1, 4),
    side=st.integers(1, 4),
    n_classes=st.integers(0, 3),
)
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


@pytest.mark.parametrize(
    ("build", "setting"),
    [
        (
            lambda: Generator(0, image_size=36, noise=2, embedding=1, widths=[4, 4, 4, 4]),
            "generator.widths",
        ),
        (
            lambda: Discriminator(0, image_size=36, widths=[4, 4, 4], dense=2),
            "discriminator.widths",
        ),
    ],
)
def test_sizes_that_cannot_be_halved_so_often_are_refused(build, setting):
    with pytest.raises(UserError, match=rf"{setting} halve .* 3 times.*multiple of 8, got 36"):
        build()


def test_losses_by_hand():
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([0.0, -2.0])
    told_apart = math.log(2) + math.log(1 + math.exp(-2))  # of two images
    bce, hinge = LOSSES["non_saturating"], LOSSES["hinge"]
    assert bce.of_discriminator(real, fake).item() == pytest.approx(told_apart)
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


def test_a_penalty_is_part_of_what_the_discriminator_lowers(machine):
    steps = {}
    inputs = torch.rand(8, 3, 8, 8), torch.arange(8) % 2, torch.randn(8, 8), torch.arange(8) % 2
    for penalty in (0.0, 5.0):
        recipe = SMALL._replace(penalty=penalty)
        adversaries = Adversaries(recipe, n_classes=2, image_size=8, machine=machine)
        adversaries.discriminator.score.weight.data.fill_(0.5)
        adversaries.train()
        steps[penalty] = adversaries.step(*(tensor.clone() for tensor in inputs))
    assert steps[5.0][0] > steps[0.0][0]  # the loss of the same weights, and the penalty


def test_a_conditional_gan_gives_the_brightness_that_is_asked_for(dark_and_bright, machine):
    recipe = SMALL._replace(epochs=30)
    fitted = fit_gan(dark_and_bright, recipe=recipe, policy=NO_POLICY, machine=machine)
    noise = draw_noise(fitted.generator, 64, seed=5)
    dark, bright = (
        generate(fitted.generator, noise, np.full(64, label), device=CPU).mean((1, 2, 3))
        for label in (0, 1)
    )
    assert (bright - dark).min() > 80  # of 175 between the classes, image by image
    assert abs(dark.mean() - 40) < 40
    assert abs(bright.mean() - 215) < 40


def test_who_is_asked_for_no_class_gives_the_same_whatever_is_asked(dark_and_bright, machine):
    recipe = SMALL._replace(conditional=False, epochs=1)
    fitted = fit_gan(dark_and_bright, recipe=recipe, policy=NO_POLICY, machine=machine)
    noise = draw_noise(fitted.generator, 8, seed=5)
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
        recipe=SMALL._replace(**settings),
        policy={"fill": "reflect", "steps": [{"flip": "horizontal"}]},
        machine=machine,
        checkpoint=checkpoint,
        grid=Grid(folder / "grids", rows=3, columns=4),
    )
    pictures = {path.name: path.read_bytes() for path in (folder / "grids").iterdir()}
    return fitted.history, fitted.generator.state_dict(), pictures


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"loss": "hinge", "penalty": 0.5, "conditional": False}])
def test_a_training_that_was_stopped_ends_bit_for_bit_as_an_undisturbed_one(
    draw_pack, machine, tmp_path, after, settings
):
    pack = draw_pack(40)
    history, weights, pictures = fitted_with(pack, machine, tmp_path / "whole", **settings)
    assert len(history) == 3
    assert set(pictures) == {f"epoch_{epoch:04}.png" for epoch in range(4)}
    path = tmp_path / "kept.safetensors"
    with pytest.raises(Stopped):
        fitted_with(
            pack, machine, tmp_path / "cut", StoppingCheckpoint(path, after=after), **settings
        )
    resumed = fitted_with(pack, machine, tmp_path / "cut", Checkpoint(path, "key"), **settings)
    assert resumed[0] == history
    assert resumed[2] == pictures
    assert all(torch.equal(tensor, resumed[1][name]) for name, tensor in weights.items())


def test_pictures_of_another_training_are_cleared_away(draw_pack, machine, tmp_path):
    fitted_with(draw_pack(40), machine, tmp_path, epochs=2)
    *_, pictures = fitted_with(draw_pack(40), machine, tmp_path, epochs=1)
    assert set(pictures) == {"epoch_0000.png", "epoch_0001.png"}


def test_a_loss_that_is_no_number_stops_the_training_and_names_the_setting(draw_pack, machine):
    recipe = SMALL._replace(optimizer={"lr": 1e30, "betas": [0.5, 0.999]})
    with pytest.raises(UserError, match=r"epoch \d, step \d: .* no number; lower train_gan.opti"):
        fit_gan(draw_pack(40), recipe=recipe, policy=NO_POLICY, machine=machine)


def test_what_a_gan_cannot_learn_from_is_refused(draw_pack, draw_multi_pack, machine):
    with pytest.raises(UserError, match=r"train_gan.conditional must be false"):
        fit_gan(draw_multi_pack(), recipe=SMALL, policy=NO_POLICY, machine=machine)
    mixing = {"fill": "reflect", "steps": [{"mix": {"cutmix": 1.0}}]}
    with pytest.raises(UserError, match=r"train_gan.online must name a policy without"):
        fit_gan(draw_pack(), recipe=SMALL, policy=mixing, machine=machine)


def test_an_image_does_not_depend_on_those_generated_with_it():
    generator = new_generator(SMALL, n_classes=3, image_size=8)
    noise, labels = draw_noise(generator, 100, seed=3), np.arange(100) % 3
    together = generate(generator, noise, labels, device=CPU)
    rows = np.array([99, 0, 70, 41])
    assert (generate(generator, noise[rows], labels[rows], device=CPU) == together[rows]).all()
    assert len(np.unique(together, axis=0)) == 100


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4), st.integers(0, 9))
def test_classes_are_drawn_in_their_shares(labels, times, seed):
    drawn = like_labels(np.array(labels), times * len(labels), seed=seed)
    assert np.bincount(drawn, minlength=4).tolist() == [times * labels.count(i) for i in range(4)]


def test_a_generator_and_its_images_come_back_as_they_were_written(draw_pack, tmp_path):
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
    with pytest.raises(UserError, match=r"the generator in .* cannot be read .* train it again"):
        load_generator(tmp_path / "generator")


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        # Means 1 and 7, variances 2 and 8: 36 + (sqrt 2 - sqrt 8)^2.
        pytest.param([[0], [2]], [[5], [9]], 38.0, id="one feature"),
        # Means (0, 0) and (3, 4), variances (2/3, 8/3) and (8/3, 2/3): 25 + 2 x 2/3.
        pytest.param(
            [[1, 0], [-1, 0], [0, 2], [0, -2]],
            [[5, 4], [1, 4], [3, 5], [3, 3]],
            25 + 4 / 3,
            id="two features without correlation",
        ),
        pytest.param([[1, 2, 3], [4, 6, 8]], [[1, 2, 3], [4, 6, 8]], 0.0, id="the same"),
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
    # Radii to the nearest: 1, 1, 1, 8 in the reference, 0.1, 0.1 and 19.4 in what was made.
    reference, made = np.array([[0.0], [1], [2], [10]]), np.array([[0.5], [0.6], [20]])
    precision, recall = precision_recall(reference, made, neighbours=1)
    assert precision == pytest.approx(2 / 3)
    assert recall == pytest.approx(3 / 4)


def test_the_nearest_distance_is_a_median():
    assert nearest_distance(np.array([[0.0], [4], [11]]), to=np.array([[1.0], [10]])) == 1.0


@pytest.fixture
def model(tiny_mlp):
    preprocessing = {"image_size": 8, "normalize": "half"}
    return Model(tiny_mlp(), ["class0", "class1", "class2"], preprocessing, {})


def test_quality_puts_real_images_first_and_noise_last(draw_pack, model):
    real = draw_pack(120)
    good, poor = draw_pack(60, seed=4), draw_pack(60, seed=5)
    poor = poor._replace(images=255 - poor.images)
    told = measure_quality(real, good, poor, model=model, neighbours=3, seed=1, device=CPU)
    assert told["n_images"] == 60
    distances = {
        name: told[name]["frechet_distance"] for name in ("real", "generated", "untrained")
    }
    assert distances["real"] < distances["untrained"]
    assert distances["generated"] < distances["untrained"]
    assert told["generated"]["precision"] > 0.8 > told["untrained"]["precision"]
    assert told["noise"]["precision"] == 0
    assert "agreement" not in told["noise"]


def test_agreement_is_the_share_that_the_model_calls_by_its_class(draw_pack, model):
    real = draw_pack(60)
    told = measure_quality(real, real, real, model=model, neighbours=2, seed=1, device=CPU)
    everything = told["generated"]
    shifted = real._replace(labels=(real.labels + 1) % 3)
    other = measure_quality(real, shifted, real, model=model, neighbours=2, seed=1, device=CPU)
    by_class = list(everything["agreement_by_class"].values())
    assert np.mean(by_class) == pytest.approx(everything["agreement"])  # of one size
    assert other["generated"]["agreement"] + everything["agreement"] <= 1
    assert other["generated"]["frechet_distance"] == everything["frechet_distance"]


def test_quality_refuses_a_model_of_other_classes_and_too_few_images(draw_pack, model):
    real = draw_pack(12)
    stranger = model._replace(classes=["a", "b"])
    with pytest.raises(UserError, match=r"trained on 2 classes \(a, b\), and .* have 3"):
        measure_quality(real, real, real, model=stranger, neighbours=3, seed=1, device=CPU)
    with pytest.raises(UserError, match=r"more than sample_gan.neighbours \(6\)"):
        measure_quality(real, real, real, model=model, neighbours=6, seed=1, device=CPU)


PHASES = {
    "p1": {
        **{"epochs": 2, "trainable": "all"},
        **{"optimizer": {"name": "adam", "lr": 0.01}, "schedule": {"name": "constant"}},
    }
}


def small_model():
    recipe = Recipe(
        phases=PHASES,
        batch_size=8,
        seed=1,
        image_size=8,
        normalize="half",
        loss={"name": "cross_entropy"},
    )
    arguments = {"hidden": [8], "dropout": 0.0}
    network = new_network("mlp", n_classes=3, image_size=8, arguments=arguments, seed=1)
    return Small(network, recipe, NO_POLICY)


def with_copies(pack):
    """The pack, and of each image one copy that is turned upside down."""
    copies = pack._replace(
        images=pack.images[:, ::-1],
        variants=np.ones_like(pack.variants),
        transformations=["upside down"] * len(pack.labels),
    )
    return join(pack, copies)


def run_added(pack, machine, folder, *, recipe=SMALL, share=1.0, copies=False, n_folds=3):
    n_images = len(pack.originals().labels)
    return add_generated(
        pack,
        np.arange(n_images) // 3 % n_folds + 1,
        gan=Gan(recipe._replace(epochs=1), NO_POLICY, copies, {"rows": 3, "columns": 2}),
        small=small_model(),
        share=share,
        seed=1,
        machine=machine,
        checkpoints=folder,
        key="key",
    )


@pytest.fixture
def trainings(monkeypatch):
    """What each training was given: (of a GAN or a model, its images, its first weights)."""
    seen = []

    def fit_gan_watched(train, **settings):
        seen.append(("gan", train, None, None))
        return fit_gan(train, **settings)

    def fit_watched(network, train, validation, **settings):
        weights = copy.deepcopy(network.state_dict())
        seen.append(("model", train, validation, weights))
        return real_fit(network, train, validation, **settings)

    real_fit = added.fit
    monkeypatch.setattr(added, "fit_gan", fit_gan_watched)
    monkeypatch.setattr(added, "fit", fit_watched)
    return seen


@pytest.mark.parametrize("copies", [False, True])
def test_nothing_that_is_trained_sees_the_fold_that_is_held_out(
    draw_pack, machine, tmp_path, trainings, copies
):
    pack = with_copies(draw_pack(36))
    answers = run_added(pack, machine, tmp_path, copies=copies)
    assert set(answers.predicted) == {"repeated", "generated", "warped"}
    ids = np.array(pack.originals().ids)
    for fold in (1, 2, 3):
        gan, *models = trainings[4 * (fold - 1) : 4 * fold]
        held_out = set(ids[answers.folds == fold])
        choosing = set(ids[answers.folds == fold % 3 + 1])
        assert set(gan[1].ids) == set(ids) - held_out - choosing
        assert set(gan[1].variants) == ({0, 1} if copies else {0})
        for _, train, validation, _ in models:
            real = {name for name in train.ids if not name.startswith("generated/")}
            assert real == set(gan[1].ids)
            assert set(validation.ids) == choosing
            assert set(validation.variants) == {0}


def test_sorts_differ_in_nothing_but_where_added_images_come_from(
    draw_pack, machine, tmp_path, trainings
):
    run_added(with_copies(draw_pack(36)), machine, tmp_path, share=0.5)
    models = [entry for entry in trainings if entry[0] == "model"]
    assert len(models) == 9
    for _, train, _, weights in models:
        assert len(train.labels) == 12 + 6
        assert all(torch.equal(weights[name], models[0][3][name]) for name in weights)
    repeated, generated, warped = (train for _, train, *_ in models[:3])
    assert len(set(repeated.ids)) == 12  # those added are images that were there
    assert (repeated.variants == 0).all()
    assert set(warped.variants[12:]) == {1}
    assert sum(name.startswith("generated/") for name in generated.ids) == 6
    assert (generated.images[:12] == repeated.images[:12]).all()


def test_a_stopped_comparison_goes_on_with_the_fold_it_was_in(
    draw_pack, machine, tmp_path, monkeypatch, capsys
):
    pack = draw_pack(36)
    whole = run_added(pack, machine, tmp_path / "whole")

    def stop(*_, **__):
        raise Stopped

    real_fit, calls = added.fit, []

    def fit_three(*arguments, **settings):
        calls.append(1)
        return (stop if len(calls) == 4 else real_fit)(*arguments, **settings)

    monkeypatch.setattr(added, "fit", fit_three)
    with pytest.raises(Stopped):
        run_added(pack, machine, tmp_path / "cut")
    capsys.readouterr()
    resumed = run_added(pack, machine, tmp_path / "cut")
    told = capsys.readouterr().out
    assert "fold 1/3: trained before the stop" in told
    assert "going on after epoch" in told
    for sort, predicted in whole.predicted.items():
        assert predicted.tolist() == resumed.predicted[sort].tolist()


def test_adding_needs_images_of_known_classes(draw_pack, draw_multi_pack, machine, tmp_path):
    asked_nothing = SMALL._replace(conditional=False)
    for pack, recipe in ((draw_pack(36), asked_nothing), (draw_multi_pack(36), SMALL)):
        with pytest.raises(UserError, match=r"set train_gan.conditional to true, for a"):
            run_added(pack, machine, tmp_path, recipe=recipe)


def test_gains_by_hand():
    labels = np.zeros(8, int)
    predicted = {
        "repeated": np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        "generated": np.array([0, 0, 0, 1, 0, 0, 1, 1]),
    }
    folds = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    told = compare(Answers(folds, predicted), labels, resamples=2000, seed=1)
    assert told["repeated"]["accuracy"] == 0.5
    assert told["repeated"]["accuracy_by_fold"] == [1.0, 0.0]
    assert "gain" not in told["repeated"]
    assert told["generated"]["accuracy"] == 5 / 8
    assert told["generated"]["gain"] == pytest.approx(1 / 8)
    assert told["generated"]["gain_p_value"] == 1.0  # two to one
    low, high = told["generated"]["gain_ci95"]
    assert low < 0 < 1 / 8 < high
    same = compare(
        Answers(folds, predicted | {"generated": predicted["repeated"]}),
        labels,
        resamples=2000,
        seed=1,
    )
    assert same["generated"]["gain_ci95"] == [0.0, 0.0]


def test_a_fitted_gan_is_the_moving_average_and_not_the_last_weights(draw_pack, machine):
    fitted = fit_gan(
        draw_pack(40), recipe=SMALL._replace(ema_decay=0.99), policy=NO_POLICY, machine=machine
    )
    last = fit_gan(
        draw_pack(40), recipe=SMALL._replace(ema_decay=1e-9), policy=NO_POLICY, machine=machine
    )
    assert isinstance(fitted, FittedGan)
    assert fitted.history == last.history  # the average is only watched
    weights = (one.generator.last.weight for one in (fitted, last))
    first = new_generator(SMALL, n_classes=3, image_size=8).last.weight
    averaged, latest = ((weight - first).abs().max() for weight in weights)
    assert averaged < latest / 2
