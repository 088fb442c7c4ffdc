"""Training: what is learned, which epochs are run, and which weights are kept."""

from collections import Counter

import numpy as np
import pytest
import torch

from classifold.data.seeding import seed_torch
from classifold.errors import UserError
from classifold.models.inference import predict_logits
from classifold.models.model_file import build_network
from classifold.training import epochs as epochs_module
from classifold.training.batches import draw_rows
from classifold.training.config import TrainingConfig
from classifold.training.description import describe_training, training_metrics
from classifold.training.epochs import Epochs
from classifold.training.freezing import count_parameters
from classifold.training.loop import fit
from classifold.training.machine import set_up
from classifold.training.scores import Score, score_logits
from interruptions import bits_of
from tiny_model import config_of

CPU = torch.device("cpu")
ADAM = {"name": "adam", "lr": 0.01}
STILL = {"name": "sgd", "lr": 1e-30}
CONSTANT = {"name": "constant"}
PHASE = {"epochs": 8, "trainable": "all", "optimizer": ADAM, "schedule": CONSTANT}
ENTROPY = {"name": "cross_entropy"}
BINARY = {"name": "binary_cross_entropy"}

NO_POLICY = {"fill": "reflect", "steps": []}
CROP_FLIP = {"fill": "reflect", "steps": [{"pad_crop": 0.125}, {"flip": "horizontal"}]}

TINY = {
    "mlp": {"hidden": [16], "dropout": 0.1},
    "initial_cnn": {"channels": [4, 8], "hidden": [16, 12], "dropout": 0.1},
    "alphanet": {"dropout": 0.1, "widths": [6], "dense": [16]},
    "simple_convnet": {"widths": [6, 12], "depths": [1, 1], "hidden": [16], "dropout": 0.1},
    "small_resnet": {"widths": [16, 20], "depth": 1},
}


def single_phase(**changes):
    """A single phase that is `PHASE` but for the changes."""
    return {"p1": PHASE | changes}


def tiny_network(name="mlp", *, image_size=8, seed=1):
    seed_torch(seed, "weights")
    return build_network(name, n_classes=3, image_size=image_size, arguments=TINY[name])


def train(network, pack, validation=None, *, policy=NO_POLICY, precision="fp32", **changes):
    return fit(
        network,
        pack,
        validation or pack,
        config=config_of(pack, **{"phases": single_phase()} | changes),
        policy=policy,
        machine=set_up(device=CPU, precision=precision),
    )


def score_of(network, pack):
    logits = predict_logits(
        network, pack.images, image_size=pack.size, normalize="half", device=CPU
    )
    return score_logits(logits, pack.labels, loss=config_of(pack).loss)


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_network_of_each_kind_memorizes_32_images(draw_pack, name):
    pack = draw_pack(32, size=16 if name == "initial_cnn" else 8)
    network = tiny_network(name, image_size=pack.size)
    fitted = train(network, pack, phases=single_phase(epochs=20))
    assert score_of(network, pack).accuracy == 1
    assert fitted.history[0]["train_loss"] > 2 * fitted.history[-1]["train_loss"]


@pytest.fixture
def watched_network():
    """A large network, and the sides of images that come: by whether the network trains."""
    network, found = tiny_network("small_resnet", image_size=16), {True: [], False: []}
    network.register_forward_pre_hook(
        lambda network, images: found[network.training].append(images[0].shape[-1])
    )
    return network, found


def test_training_takes_images_of_its_own_size_and_validation_those_of_the_network(
    draw_pack, watched_network
):
    network, found = watched_network
    pack = draw_pack(24, size=16)
    train(network, pack, train_size=8, policy=CROP_FLIP, phases=single_phase(epochs=1))
    assert {training: set(of) for training, of in found.items()} == {True: {8}, False: {16}}


def test_training_images_grow_from_the_first_to_the_last_epoch_of_all_phases(
    draw_pack, watched_network
):
    network, found = watched_network
    phases = single_phase(epochs=3) | {"p2": PHASE | {"epochs": 2}}
    pack = draw_pack(24, size=16)
    train(network, pack, train_size=[8, 24], policy=CROP_FLIP, phases=phases, batch_size=24)
    assert found[True] == [8, 8, 16, 24, 24]


@pytest.mark.parametrize(
    ("train_size", "n_epochs", "expected"),
    [
        (None, 2, [32, 32]),
        (24, 2, [24, 24]),
        ([16, 32], 1, [16]),
        ([16, 32], 3, [16, 24, 32]),
        ([20, 31], 4, [20, 20, 31, 31]),  # in steps of about 8 pixels
        ([16, 17], 2, [16, 17]),
    ],
)
def test_sizes_of_training_images(train_size, n_epochs, expected):
    phases = {"p1": {"epochs": n_epochs}}
    config = TrainingConfig(1, 32, "half", ENTROPY, phases, train_size=train_size)
    assert [config.training_size(epoch) for epoch in range(1, n_epochs + 1)] == expected


@pytest.mark.promise("only-training-augmented")
def test_images_are_augmented_in_training_and_not_in_validation(draw_pack):
    still = single_phase(epochs=1, optimizer=STILL)
    plain, augmented = (
        train(tiny_network(), draw_pack(24), policy=policy, phases=still).history[0]
        for policy in (NO_POLICY, CROP_FLIP)
    )
    assert augmented["validation_loss"] == plain["validation_loss"]
    assert augmented["train_loss"] != plain["train_loss"]


OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.1},
    "nesterov": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "nesterov": True},
    "adam": ADAM,
    "amsgrad": ADAM | {"amsgrad": True},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1, "weight_decay_on_norm": False},
    "rmsprop": {"name": "rmsprop", "lr": 0.002, "momentum": 0.5},
    "adadelta": {"name": "adadelta", "lr": 1.0},
    "layers": {"name": "sgd", "lr": 0.05, "lr_factors": {"hidden": 0.5, "head": 2.0}},
}
SCHEDULES = {
    "plateau": {"name": "plateau", "factor": 0.3, "patience": 1},
    "cyclical": {"name": "cyclical", "min_lr": 0.001, "step_size": 6},
    "cosine": {"name": "cosine", "warmup_epochs": 2},
    "one_cycle": {"name": "one_cycle", "pct_start": 0.3, "div_factor": 25, "final_div_factor": 100},
}
LOSSES = {
    "cross_entropy": ENTROPY,
    "smoothed": ENTROPY | {"label_smoothing": 0.1},
    "binary_cross_entropy": BINARY,
    "mean_squared_error": {"name": "mean_squared_error"},
    "focal": {"name": "focal", "gamma": 2.0},
    "mild focal": {"name": "focal", "gamma": 0.5},
}


def memorizes(pack, *, optimizer=ADAM, schedule=CONSTANT, **changes):
    network = tiny_network()
    phases = single_phase(epochs=15, optimizer=optimizer, schedule=schedule)
    before = score_of(network, pack).accuracy
    train(network, pack, phases=phases, **changes)
    return before < 0.7 and score_of(network, pack).accuracy == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_each_optimizer_memorizes_32_images(draw_pack, optimizer):
    assert memorizes(draw_pack(32), optimizer=optimizer)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
def test_each_schedule_memorizes_32_images(draw_pack, schedule, optimizer):
    assert memorizes(draw_pack(32), schedule=schedule, optimizer=OPTIMIZERS[optimizer])


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_each_loss_memorizes_32_images(draw_pack, loss, class_weights):
    assert memorizes(draw_pack(32), loss=loss, class_weights=class_weights)


SIGMOID = ["binary_cross_entropy", "mean_squared_error", "focal", "mild focal"]


@pytest.fixture
def tiny_multi_network():
    """A network for images of `draw_multi_pack`."""
    return lambda: tiny_network(image_size=9)


@pytest.mark.parametrize("loss", SIGMOID)
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_each_sigmoid_loss_memorizes_images_with_several_labels(
    draw_multi_pack, tiny_multi_network, loss, class_weights
):
    pack, network = draw_multi_pack(32), tiny_multi_network()
    assert set(pack.labels.sum(1).tolist()) == {0, 1, 2, 3}  # of any number of labels
    phases = single_phase(epochs=25, optimizer=ADAM | {"lr": 0.02})
    fitted = train(network, pack, phases=phases, loss=LOSSES[loss], class_weights=class_weights)
    assert fitted.history[0]["validation_micro_f1"] < 1
    score = score_of(network, pack)
    assert (score.accuracy, score.micro_f1) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "balanced"},
        {"ema_decay": 0.8},
        {"gradient_clip_norm": 0.5},
        {"gradient_accumulation_steps": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_network_learns_in_each_other_way_too(draw_pack, changes):
    assert memorizes(draw_pack(32), **changes)


def test_bf16_learns_too_and_keeps_its_weights_in_fp32(draw_pack):
    network = tiny_network()
    train(network, draw_pack(32), precision="bf16")
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert score_of(network, draw_pack(32)).accuracy == 1


def trained_weights(pack, name, *, n_drawn=1, **changes):
    network = tiny_network(name)
    torch.rand(n_drawn)
    train(network, pack, phases=single_phase(epochs=2), **changes)
    return bits_of(network)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(draw_pack):
    first, again, other = (
        trained_weights(draw_pack(24), "small_resnet", seed=seed, policy=CROP_FLIP)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_dropout_does_not_depend_on_earlier_random_numbers(draw_pack):
    first, other = (trained_weights(draw_pack(24), "mlp", n_drawn=n) for n in (1, 5))
    assert first == other


def test_dropout_leaves_out_other_units_in_every_batch_and_epoch(draw_pack, tiny_mlp):
    network = tiny_mlp(dropout=0.5)
    (layer,) = (each for each in network.modules() if isinstance(each, torch.nn.Dropout))
    kept = []

    def record(layer, _, output):
        if layer.training:
            kept.append(output)

    layer.register_forward_pre_hook(lambda _, inputs: torch.ones_like(inputs[0]))
    layer.register_forward_hook(record)
    train(network, draw_pack(16), phases=single_phase(epochs=3))
    masks = {tuple((units > 0).ravel().tolist()) for units in kept}
    assert len(masks) == len(kept) == 3 * 2  # epochs, batches


@pytest.mark.parametrize("gradient_clip_norm", [None, 0.5])
@pytest.mark.parametrize("n_images", [32, 37])  # in equal steps, and in some of seven and eight
def test_micro_batches_end_with_the_weights_of_whole_batches(
    draw_pack, tiny_mlp, gradient_clip_norm, n_images
):
    sgd = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    changes = {
        "phases": single_phase(epochs=3, optimizer=sgd),
        "gradient_clip_norm": gradient_clip_norm,
    }

    def weights(gradient_accumulation_steps):
        network = tiny_mlp()  # without batch norm and dropout
        changes["gradient_accumulation_steps"] = gradient_accumulation_steps
        fitted = train(network, draw_pack(n_images), policy=CROP_FLIP, **changes)
        return network.state_dict(), fitted

    (whole, fitted), first = weights(1), tiny_mlp().state_dict()
    for gradient_accumulation_steps in (2, 3):
        cut, again = weights(gradient_accumulation_steps)
        for name in whole:
            torch.testing.assert_close(cut[name], whole[name], rtol=1e-4, atol=1e-5)
        for row, other in zip(fitted.history, again.history, strict=True):
            assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-5)
            assert row["train_accuracy"] == other["train_accuracy"]
    assert (whole["head.weight"] - first["head.weight"]).abs().max() > 0.01


def test_the_moving_average_of_weights_is_validated_and_saved(draw_pack, tiny_mlp):
    pack = draw_pack(32)

    def after(n_epochs, ema_decay):
        network = tiny_mlp()
        phases = single_phase(epochs=n_epochs, stop={"metric": "loss"})
        # One step an epoch.
        fitted = train(network, pack, batch_size=32, phases=phases, ema_decay=ema_decay)
        assert fitted.best_epoch == n_epochs
        return network, fitted.history[-1]

    moving = [after(n_epochs, None)[0].state_dict() for n_epochs in (1, 2, 3)]
    network, fitted = after(3, 0.75)
    for name, kept in network.state_dict().items():
        first, second, third = (state[name] for state in moving)
        by_hand = 0.75 * (0.75 * first + 0.25 * second) + 0.25 * third
        torch.testing.assert_close(kept, by_hand)
        assert not torch.allclose(kept, third, atol=1e-4)
    assert fitted["validation_loss"] == pytest.approx(score_of(network, pack).loss, abs=1e-6)


def assert_scored(row, score):
    """An epoch had this score, in training and in validation."""
    columns = score.columns("train") | score.columns("validation")
    assert {name: row[name] for name in columns} == pytest.approx(columns, abs=2e-6)


ONCE_STILL = single_phase(epochs=1, optimizer=STILL)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_training_score_is_that_of_the_weights_at_each_step(draw_pack, tiny_mlp, steps):
    pack, network = draw_pack(32), tiny_mlp()
    changes = {"phases": ONCE_STILL, "gradient_accumulation_steps": steps}
    (row,) = train(network, pack, **changes).history
    score = score_of(network, pack)
    assert 0 < score.accuracy < 1
    assert_scored(row, score)


def test_the_training_score_of_several_labels_has_micro_f1(draw_multi_pack, tiny_mlp):
    pack, network = draw_multi_pack(32), tiny_mlp(image_size=9)
    phases = single_phase(epochs=1) | {"p2": ONCE_STILL["p1"]}
    *_, row = train(network, pack, phases=phases).history
    score = score_of(network, pack)
    assert 0 < score.micro_f1 < 1
    assert_scored(row, score)


def test_class_weights_count_in_training_and_not_in_validation(draw_pack, tiny_mlp):
    pack, network = draw_pack(32), tiny_mlp()
    rows = np.flatnonzero((pack.labels > 0) | (np.arange(32) < 12))  # 4, 11 and 10 images
    pack = pack._replace(images=pack.images[rows], labels=pack.labels[rows])
    changes = {"phases": ONCE_STILL, "class_weights": "balanced", "batch_size": 32}
    (row,) = train(network, pack, **changes).history
    of_classes = []
    for label in range(3):
        rows = np.flatnonzero(pack.labels == label)
        of_class = pack._replace(images=pack.images[rows], labels=pack.labels[rows])
        of_classes.append(score_of(network, of_class).loss)
    assert row["train_loss"] == pytest.approx(sum(of_classes) / 3, abs=2e-6)
    assert row["validation_loss"] == pytest.approx(score_of(network, pack).loss, abs=2e-6)
    assert abs(row["train_loss"] - row["validation_loss"]) > 0.001


def test_smoothing_counts_in_training_and_not_in_validation(draw_pack, tiny_mlp):
    pack, network = draw_pack(32), tiny_mlp()
    smoothed = ENTROPY | {"label_smoothing": 0.5}
    (row,) = train(network, pack, phases=ONCE_STILL, loss=smoothed).history
    assert row["validation_loss"] == pytest.approx(score_of(network, pack).loss, abs=2e-6)
    assert abs(row["train_loss"] - row["validation_loss"]) > 0.001


def test_the_sampler_of_the_config_is_the_one_that_draws(draw_pack, machine):
    pack = draw_pack(32)
    config = config_of(pack, sampler="balanced")
    epochs = Epochs(pack, config=config, policy=NO_POLICY, machine=machine)
    found = torch.cat([batch.labels for batch in epochs.batches(3)])
    rows = draw_rows(pack.labels, n_classes=3, seed=1, epoch=3, sampler="balanced")
    assert found.tolist() == pack.labels[rows].tolist()


def test_the_weights_of_the_best_epoch_are_restored_and_not_those_of_the_last(draw_pack):
    pack = draw_pack(30)
    # What is learned from `pack` is wrong here, so that the first epochs are the best.
    validation = draw_pack(30, seed=5)
    validation = validation._replace(labels=(validation.labels + 1) % 3)
    network = tiny_network()
    slow = single_phase(optimizer={"name": "adam", "lr": 0.0005})
    fitted = train(network, pack, validation, phases=slow)
    accuracies = [row["validation_accuracy"] for row in fitted.history]
    best = max(fitted.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
    assert accuracies[-1] < max(accuracies)
    assert fitted.best_epoch == best["epoch"] < len(fitted.history)
    assert not network.training
    left = score_of(network, validation)
    assert left.accuracy == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert left.loss == pytest.approx(best["validation_loss"], abs=1e-5)


@pytest.fixture
def scripted_scores(monkeypatch):
    """Replace validation by given scores, epoch after epoch; returns the weights of each call."""

    def script(*scores):
        left, seen = list(scores), []

        def validate(_, phase, validation):
            seen.append(bits_of(phase.averaged))
            return Score(*left.pop(0))

        monkeypatch.setattr(Epochs, "validate", validate)
        return seen

    return script


# Loss, accuracy, micro F1: by each of them another epoch is the best.
SCRIPT = [
    (0.9, 0.5, 0.2),
    (0.8, 0.6, 0.3),  # by accuracy, of two
    (0.7, 0.4, 0.3),
    (0.5, 0.3, 0.1),  # by loss
    (0.9, 0.6, 0.1),
    (0.8, 0.2, 0.1),
    (0.7, 0.1, 0.4),  # by micro F1, the first of two equals
    (0.7, 0.1, 0.4),
]


@pytest.mark.parametrize(
    ("stop", "epochs_run", "best_epoch"),
    [
        ({"metric": "accuracy", "patience": 9}, 8, 2),
        ({"metric": "accuracy", "patience": 3}, 5, 2),
        ({"metric": "accuracy", "patience": 1}, 3, 2),
        ({"metric": "loss", "patience": 9}, 8, 4),
        ({"metric": "loss", "patience": 2}, 6, 4),
        ({"metric": "micro_f1", "patience": 4}, 8, 7),
        ({"metric": "micro_f1", "patience": 3}, 6, 3),  # of equals the one with the lower loss
        ({"patience": 3}, 7, 4),  # several labels: loss
        ({"metric": "loss"}, 8, 4),
        (None, 8, 4),
    ],
    ids=str,
)
def test_training_stops_after_its_patience_and_the_best_epoch_by_its_metric_is_restored(
    draw_multi_pack, scripted_scores, stop, epochs_run, best_epoch
):
    seen = scripted_scores(*SCRIPT)
    network = tiny_network(image_size=9)
    fitted = train(network, draw_multi_pack(16), phases=single_phase(stop=stop))
    assert [row["epoch"] for row in fitted.history] == list(range(1, epochs_run + 1))
    assert fitted.best_epoch == fitted.phases["p1"]["best_epoch"] == best_epoch
    assert bits_of(network) == seen[best_epoch - 1]
    assert bits_of(network) != seen[-1]


def test_with_one_label_an_image_accuracy_is_the_metric_and_a_phase_may_have_no_patience(
    draw_pack, scripted_scores
):
    seen, network = scripted_scores(*(scores[:2] for scores in SCRIPT)), tiny_network()
    assert train(network, draw_pack(16)).best_epoch == 2
    assert len(seen) == 8
    assert bits_of(network) == seen[1]


def test_each_phase_starts_from_the_best_epoch_of_the_previous_one(draw_pack, scripted_scores):
    pack, network = draw_pack(16), tiny_network()
    seen = scripted_scores((1, 0.1), (1, 0.9), (1, 0.2), (1, 0.3), (1, 0.2))
    still = {"epochs": 2, "optimizer": STILL, "stop": {"metric": "accuracy", "patience": 1}}
    fitted = train(network, pack, phases=single_phase(epochs=3) | {"p2": PHASE | still})
    assert seen[3] == seen[1]
    assert seen[3] != seen[2]
    # An earlier phase's best does not count in the next, nor does its patience.
    assert [fitted.phases[name]["best_epoch"] for name in ("p1", "p2")] == [2, 4]
    assert len(fitted.history) == 5


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_a_plateau_watches_the_metric_that_stops(draw_pack, scripted_scores, metric):
    # Accuracy rises while the loss does, too.
    scripted_scores(*((1 + 0.1 * epoch, 0.1 * epoch) for epoch in range(4)))
    plateau = {"name": "plateau", "factor": 0.5, "patience": 0}
    phases = single_phase(epochs=4, schedule=plateau, stop={"metric": metric})
    fitted = train(tiny_network(), draw_pack(16), phases=phases)
    rates = [row["learning_rate"] for row in fitted.history]
    assert rates == {"accuracy": [0.01] * 4, "loss": [0.01, 0.01, 0.005, 0.0025]}[metric]


def test_early_stopping_is_logged(draw_pack, scripted_scores, capsys):
    scripted_scores(*[(1, 0.5)] * 9)
    train(tiny_network(), draw_pack(16), phases=single_phase(stop={"patience": 2}))
    assert "validation accuracy has not improved for 2 epochs" in capsys.readouterr().out


def test_phases_run_in_the_order_of_their_names_with_epochs_counted_on(draw_pack):
    phases = {"p2": PHASE | {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.5}}}
    phases |= single_phase(epochs=3, trainable="head")
    fitted = train(tiny_network(), draw_pack(), phases=phases)
    expected = [*(("p1", epoch, 0.01) for epoch in (1, 2, 3)), ("p2", 4, 0.5), ("p2", 5, 0.5)]
    columns = ["phase", "epoch", "learning_rate"]
    assert [tuple(row[name] for name in columns) for row in fitted.history] == expected
    columns += [
        f"{part}_{name}" for part in ("train", "validation") for name in ("loss", "accuracy")
    ]
    assert all(list(row) == columns for row in fitted.history)
    assert fitted.best_epoch == fitted.phases["p2"]["best_epoch"] in (4, 5)


def test_summaries_of_phases_have_epochs_rates_scores_and_trainable_parameters(draw_pack):
    cyclical = {"name": "cyclical", "min_lr": 0.002, "step_size": 4}
    phases = single_phase(epochs=3, trainable="head", schedule=cyclical) | {
        "p2": PHASE | {"epochs": 2}
    }
    fitted = train(tiny_network(), draw_pack(32), phases=phases)  # 4 steps an epoch
    best = {name: fitted.history[fitted.phases[name]["best_epoch"] - 1] for name in phases}
    assert fitted.phases["p1"] == {
        "n_epochs": 3,
        "first_epoch": 1,
        "last_epoch": 3,
        "best_epoch": best["p1"]["epoch"],
        "lowest_learning_rate": pytest.approx(0.002),
        "highest_learning_rate": pytest.approx(0.01),
        "validation_loss": best["p1"]["validation_loss"],
        "validation_accuracy": best["p1"]["validation_accuracy"],
        "n_trainable_parameters": 16 * 3 + 3,
    }
    second = fitted.phases["p2"]
    assert (second["n_epochs"], second["first_epoch"], second["last_epoch"]) == (2, 4, 5)
    assert second["lowest_learning_rate"] == second["highest_learning_rate"] == 0.01
    assert second["n_trainable_parameters"] == 192 * 16 + 16 + 16 * 3 + 3


def test_a_phase_changes_what_it_trains_and_nothing_else(draw_pack):
    def changed(trainable):
        network = tiny_network("small_resnet")
        before = bits_of(network)
        train(network, draw_pack(), phases=single_phase(epochs=2, trainable=trainable))
        return {name for name, bits in bits_of(network).items() if bits != before[name]}

    assert changed("head") == {"head.weight", "head.bias"}
    norm = {"norm.weight", "norm.bias"}
    statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    assert changed(["norm", "stem"]) == {"stem.weight"} | norm | statistics


def test_a_nan_loss_is_an_error_with_epoch_step_and_remedy(draw_pack):
    wild = single_phase(optimizer={"name": "sgd", "lr": 1e30})
    message = (
        r"^phases\.p1\.optimizer\.lr: .*epoch 1, step 2 is NaN, .*1e\+30.*Lower it.*"
        "gradient_clip_norm to 1.0.*classifold lr-find"
    )
    for norm in (None, 1.0):  # which does not help here
        with pytest.raises(UserError, match=message):
            train(tiny_network("small_resnet"), draw_pack(), phases=wild, gradient_clip_norm=norm)


def test_an_exploding_loss_is_an_error_with_its_value_phase_and_epoch(draw_pack, tiny_mlp):
    pack = draw_pack()
    # Random labels cannot be learned, least of all by large steps.
    pack = pack._replace(labels=np.random.default_rng(0).permutation(pack.labels))
    phases = single_phase(epochs=2) | {
        "p2": PHASE | {"trainable": "head", "optimizer": {"name": "sgd", "lr": 1e7}}
    }
    message = (
        r"^phases\.p2\.optimizer\.lr: .*epoch 3, step 2 has grown to \d(\.\d+)?e\+\d\d, "
        r"got .*1e\+07"
    )
    with pytest.raises(UserError, match=message):
        train(tiny_mlp(), pack, phases=phases)


def test_losses_are_checked_periodically_and_at_the_end_of_an_epoch(draw_pack, monkeypatch):
    looked = []
    look = Epochs._check

    def watched(self, losses, *others, **names):
        looked.append(len(losses))
        look(self, losses, *others, **names)

    monkeypatch.setattr(Epochs, "_check", watched)
    monkeypatch.setattr(epochs_module, "STEPS_BETWEEN_CHECKS", 3)
    train(tiny_network(), draw_pack(32), phases=single_phase(epochs=1), batch_size=4)
    assert looked == [3, 6, 8]
    looked.clear()
    wild = single_phase(optimizer={"name": "sgd", "lr": 1e30})
    with pytest.raises(UserError, match=r"epoch 1, step [23] is NaN"):
        train(tiny_network(), draw_pack(32), phases=wild, batch_size=4)
    assert looked == [3]  # it does not go on to the end


def test_the_metrics_of_a_training_have_the_accuracy_gap_and_the_last_phase(draw_pack):
    network = tiny_network()
    phases = single_phase(epochs=2, trainable="head") | {"p2": PHASE | {"epochs": 1}}
    fitted = train(network, draw_pack(), phases=phases)
    metrics = training_metrics(network, fitted, train=Score(0.1, 1.0), validation=Score(0.5, 2 / 3))
    assert metrics == {
        "train_accuracy": 1.0,
        "validation_loss": 0.5,
        "validation_accuracy": 2 / 3,
        "accuracy_gap": pytest.approx(1 / 3),
        "best_epoch": 3,
        "n_epochs": 3,
        "n_parameters": count_parameters(network),
        "n_trainable_parameters": count_parameters(network),
        "phases": fitted.phases,
    }
    assert list(metrics["phases"]) == ["p1", "p2"]


def test_the_metrics_of_a_training_on_several_labels_have_micro_f1(
    draw_multi_pack, tiny_multi_network
):
    network = tiny_multi_network()
    fitted = train(network, draw_multi_pack(16), phases=single_phase(epochs=2))
    scores = {"train": Score(0.1, 0.75, 0.9), "validation": Score(0.5, 0.5, 0.8)}
    metrics = training_metrics(network, fitted, **scores)
    n_parameters = 243 * 16 + 16 + 16 * 3 + 3
    assert metrics == metrics | {
        "train_micro_f1": 0.9,
        "validation_micro_f1": 0.8,
        "accuracy_gap": 0.25,
        "n_trainable_parameters": n_parameters,
        "n_parameters": n_parameters,
    }
    best = fitted.history[fitted.best_epoch - 1]
    assert metrics["phases"]["p1"]["validation_micro_f1"] == best["validation_micro_f1"]


def test_a_training_is_described_by_what_its_weights_depend_on(draw_pack, draw_multi_pack):
    pack = draw_pack(31)
    loss = ENTROPY | {"label_smoothing": 0.1}
    description = describe_training(
        pack, loss=loss, precision="fp32", threads=2, processes=[2, 2, 1, 2], max_epochs=None
    )
    assert description["processes"] == [2, 1, 2]
    assert (description["precision"], description["threads"]) == ("fp32", 2)
    assert (description["task"], description["loss"]) == ("single", loss)
    assert description["versions"]["torch"] == torch.__version__
    per_class = Counter(i % 3 for i in range(31))
    assert description["train_images_per_class"] == {f"class{i}": per_class[i] for i in range(3)}

    several = describe_training(
        draw_multi_pack(12), loss=BINARY, precision="fp32", threads=1, processes=[1], max_epochs=3
    )
    assert several["task"] == "multi"
    # Of 000, 100, 010, 110, 001, ... and again the first four.
    assert several["train_images_per_class"] == {"class0": 6, "class1": 6, "class2": 4}
