"""Training: what a step does, what an epoch shows, and which weights are left in the end."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from classifold.augmentation.online import epoch_draws
from classifold.errors import UserError
from classifold.inference import predict_logits
from classifold.model_file import build_network
from classifold.seeding import seed_torch
from classifold.training.batches import TrainingImages, count_batches, epoch_batches
from classifold.training.description import describe_training, training_metrics
from classifold.training.freezing import count_parameters, set_trainable, train_mode
from classifold.training.loop import HISTORY_COLUMNS, fit, score_logits
from classifold.training.optimizers import make_optimizer
from classifold.training.schedules import make_schedule

CPU = torch.device("cpu")
INPUT = {"image_size": 8, "normalize": "half", "device": CPU}
ADAM = {"name": "adam", "lr": 0.01}
PHASE = {"epochs": 8, "trainable": "all", "optimizer": ADAM, "schedule": {"name": "constant"}}

TINY = {
    "mlp": {"hidden": [16], "dropout": 0.1},
    "initial_cnn": {"channels": [4, 8], "hidden": [16, 12], "dropout": 0.1},
    "alphanet": {"dropout": 0.1, "widths": [6], "dense": [16]},
    "simple_convnet": {"widths": [6, 12], "depths": [1, 1], "hidden": [16], "dropout": 0.1},
    "small_resnet": {"widths": [16, 20], "depth": 1},
}


def tiny(name="mlp", *, n_classes=3, image_size=8, seed=1):
    seed_torch(seed, "weights")
    arguments = TINY[name]
    return build_network(name, n_classes=n_classes, image_size=image_size, arguments=arguments)


NO_POLICY = {"fill": "reflect", "steps": []}
CROP_FLIP = {"fill": "reflect", "steps": [{"pad_crop": 0.125}, {"flip": "horizontal"}]}
MIX = {"fill": "reflect", "steps": [{"mix": {"mixup": 0.5, "cutmix": 1.0}}]}


def train(network, pack, validation=None, *, phases=None, **changes):
    settings = {"batch_size": 8, "seed": 1, "policy": NO_POLICY, "precision": "fp32", **INPUT}
    return fit(
        network, pack, validation or pack, phases=phases or {"p1": PHASE}, **settings | changes
    )


def weights_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({"name": "adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01)),
        (
            {"name": "adamw", "lr": 0.01, "weight_decay": 0.1, "betas": [0.8, 0.9]},
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9)),
        ),
        (
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
    ],
    ids=["adam", "adamw", "sgd"],
)
def test_an_optimizer_steps_as_torchs_of_its_name(settings, reference):
    start = torch.linspace(-1, 1, 12)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [make_optimizer([ours], **settings), reference([theirs])]
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (parameter**3).sum().backward()
            optimizer.step()
    assert not torch.allclose(ours, start, atol=0.01)
    torch.testing.assert_close(ours, theirs)


def test_plain_descent_by_hand():
    parameter = torch.nn.Parameter(torch.tensor([3.0]))
    optimizer = make_optimizer([parameter], name="sgd", lr=0.1)
    (parameter**2).sum().backward()
    optimizer.step()
    assert parameter.item() == pytest.approx(3 - 0.1 * 6)


def optimizer_of(lr=1.0):
    return make_optimizer([torch.nn.Parameter(torch.zeros(1))], name="sgd", lr=lr, momentum=0.9)


def rates(schedule, optimizer, n_steps):
    """The learning rate of each step."""
    found = []
    for _ in range(n_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_step()
    return found


def test_a_constant_rate_stays():
    optimizer = optimizer_of(0.3)
    schedule = make_schedule(optimizer, name="constant", n_epochs=2, steps_per_epoch=3)
    schedule.after_epoch(0.5)
    assert rates(schedule, optimizer, 6) == [0.3] * 6


def test_a_plateau_lowers_the_rate_when_accuracy_has_not_risen_for_its_patience():
    optimizer = optimizer_of()
    schedule = make_schedule(
        optimizer, name="plateau", factor=0.1, patience=1, n_epochs=9, steps_per_epoch=1
    )
    found = []
    for accuracy in (0.5, 0.6, 0.6, 0.59, 0.7, 0.6, 0.6, 0.6, 0.6):
        schedule.after_epoch(accuracy)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_a_cosine_without_warm_up_is_torchs():
    ours, theirs = optimizer_of(), optimizer_of()
    schedule = make_schedule(ours, name="cosine", warmup_epochs=0, n_epochs=4, steps_per_epoch=5)
    reference = CosineAnnealingLR(theirs, T_max=20)
    expected = []
    for _ in range(20):
        expected.append(reference.get_last_lr()[0])
        theirs.step()
        reference.step()
    assert rates(schedule, ours, 20) == pytest.approx(expected, abs=1e-12)


def test_a_cosine_with_warm_up_by_hand():
    optimizer = optimizer_of()
    schedule = make_schedule(
        optimizer, name="cosine", warmup_epochs=1.5, n_epochs=4, steps_per_epoch=2
    )
    falling = [0.5 * (1 + math.cos(math.pi * i / 5)) for i in range(5)]
    assert rates(schedule, optimizer, 8) == pytest.approx([1 / 4, 2 / 4, 3 / 4, *falling])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_one_cycle_is_torchs_with_the_optimizers_rate_as_its_peak():
    settings = {"pct_start": 0.3, "div_factor": 25, "final_div_factor": 1000}
    ours, theirs = optimizer_of(0.4), optimizer_of(0.4)
    schedule = make_schedule(ours, name="one_cycle", n_epochs=5, steps_per_epoch=4, **settings)
    reference = OneCycleLR(theirs, max_lr=0.4, total_steps=21, **settings)
    expected = []
    for _ in range(20):
        expected.append(reference.get_last_lr()[0])
        theirs.step()
        reference.step()
    found = rates(schedule, ours, 20)
    assert found == pytest.approx(expected)
    assert found[0] == pytest.approx(0.4 / 25)
    assert max(found) == pytest.approx(0.4, rel=0.02)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'"):
        make_schedule(optimizer_of(), name="cosin", n_epochs=1, steps_per_epoch=1)


def test_with_the_head_alone_trainable_nothing_else_asks_for_gradients():
    network = tiny("small_resnet")
    set_trainable(network, "head")
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"head.weight", "head.bias"}
    assert count_parameters(network, trainable=True) == 20 * 3 + 3
    set_trainable(network, "all")
    assert count_parameters(network, trainable=True) == count_parameters(network)


def test_the_statistics_of_frozen_layers_do_not_move():
    network = tiny("small_resnet")
    images = torch.randn(8, 3, 8, 8)
    for trainable, moves in (("head", False), ("all", True)):
        set_trainable(network, trainable)
        before = weights_of(network)
        train_mode(network)
        network(images)
        after = network.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert bool(moved) == moves
    assert all("running" in name or "num_batches" in name for name in moved)


def test_layers_that_train_are_put_into_training_mode():
    network = tiny("alphanet").eval()
    set_trainable(network, "head")
    train_mode(network)
    assert network.head.training
    assert not any(m.training for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    set_trainable(network, "all")
    train_mode(network)
    assert all(module.training for module in network.modules())


def epoch_of(pack, *, epoch=1, seed=1, batch_size=8, policy=NO_POLICY, **changes):
    settings = {**INPUT, **changes}
    images = TrainingImages(
        pack, policy=policy, image_size=settings["image_size"], device=settings.pop("device")
    )
    return list(epoch_batches(images, batch_size=batch_size, seed=seed, epoch=epoch, **settings))


def shown(batches):
    """Which image of a pack of plain grays was shown, in the order of an epoch."""
    inputs = torch.cat([batch.inputs for batch in batches])
    return torch.round((inputs[:, 0, 0, 0] + 1) * 127.5).int().tolist()


@pytest.fixture
def grays(draw_pack):
    """Image i is plain gray i, and its label is its remainder by 3."""
    pack = draw_pack(33)
    images = np.broadcast_to(np.arange(33, dtype=np.uint8)[:, None, None, None], (33, 8, 8, 3))
    return pack._replace(images=images)


@pytest.mark.parametrize("batch_size", [2, 8, 16, 32, 100])
def test_an_epoch_shows_every_image_once_with_its_own_label(grays, batch_size):
    batches = epoch_of(grays, batch_size=batch_size)
    numbers = shown(batches)
    assert sorted(numbers) == list(range(33))
    assert torch.cat([batch.labels for batch in batches]).tolist() == [n % 3 for n in numbers]
    assert len(batches) == count_batches(33, batch_size)


@pytest.mark.parametrize("batch_size", [2, 8, 16, 32])
def test_no_batch_is_left_over_with_a_single_image(grays, batch_size):
    sizes = {len(batch.labels) for batch in epoch_of(grays, batch_size=batch_size)}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_depends_on_seed_and_epoch_alone(grays):
    first = shown(epoch_of(grays))
    assert first != list(range(33))
    assert shown(epoch_of(grays)) == first
    assert shown(epoch_of(grays, epoch=2)) != first
    assert shown(epoch_of(grays, seed=2)) != first


@pytest.mark.parametrize("policy", [CROP_FLIP, MIX])
def test_online_augmentation_does_not_depend_on_the_size_of_batches(draw_pack, policy):
    pack = draw_pack(16)
    small, large = (
        torch.cat([batch.inputs for batch in epoch_of(pack, batch_size=n, policy=policy)])
        for n in (4, 16)
    )
    assert torch.equal(small, large)
    assert not torch.equal(small, torch.cat([batch.inputs for batch in epoch_of(pack)]))


def test_where_images_are_mixed_targets_are_shares_of_both_classes(draw_pack):
    (batch,) = epoch_of(draw_pack(16), batch_size=16, policy=MIX)
    assert batch.targets.shape == (16, 3)
    assert torch.allclose(batch.targets.sum(1), torch.ones(16))
    assert (batch.targets.gather(1, batch.labels[:, None]) > 0).any()
    (plain,) = epoch_of(draw_pack(16), batch_size=16)
    assert torch.equal(plain.targets, plain.labels)


def test_enlarging_is_folded_into_a_warp_and_otherwise_left_to_the_input(draw_pack):
    pack = draw_pack(4)
    turn = {"fill": "reflect", "steps": [{"rotate": 0}]}
    (warped,) = epoch_of(pack, policy=turn, image_size=16)
    (plain,) = epoch_of(pack, image_size=16)
    assert warped.inputs.shape == plain.inputs.shape == (4, 3, 16, 16)
    inner = slice(2, -2)  # borders are filled in another way
    gap = (warped.inputs - plain.inputs)[:, :, inner, inner].abs().max()
    assert gap <= 1.01 / 255 / 0.5  # a grey level


def test_images_on_a_device_are_augmented_there_as_on_the_cpu(draw_pack):
    pack = draw_pack(8, size=16)
    policy = {
        "fill": "edge",
        "steps": [{"rotate": 20}, {"brightness": [0.8, 1.2]}, MIX["steps"][0]],
    }
    settings = {"image_size": 16, "normalize": "none"}
    on_cpu = TrainingImages(pack, policy=policy, image_size=16, device=torch.device("cpu"))
    there = TrainingImages(pack, policy=policy, image_size=16, device=torch.device("cpu"))
    there.on_device = True  # as where there is a GPU: a batch at a time, in torch
    draws = epoch_draws(policy, n_images=8, seed=1, epoch=1)
    first, _ = on_cpu.inputs(np.arange(8), draws, **settings)
    second, _ = there.inputs(np.arange(8), draws, **settings)
    assert (first - second).abs().max() <= 3 / 255


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_network_learns_32_images_by_heart(draw_pack, name):
    size = 16 if name == "initial_cnn" else 8
    pack = draw_pack(32, size=size)
    network = tiny(name, image_size=size)
    phases = {"p1": PHASE | {"epochs": 20}}
    fitted = train(network, pack, phases=phases, image_size=size)
    logits = predict_logits(network, pack.images, **INPUT | {"image_size": size})
    assert score_logits(logits, pack.labels).accuracy == 1
    assert fitted.history[0]["train_loss"] > 2 * fitted.history[-1]["train_loss"]


def test_bf16_learns_too_and_keeps_its_weights_in_fp32(draw_pack):
    pack = draw_pack(32)
    network = tiny()
    train(network, pack, precision="bf16")
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert score_logits(predict_logits(network, pack.images, **INPUT), pack.labels).accuracy == 1


def test_the_same_seed_gives_the_same_weights_bit_for_bit(draw_pack):
    def weights(seed):
        network = tiny("small_resnet")
        train(
            network,
            draw_pack(24),
            phases={"p1": PHASE | {"epochs": 2}},
            seed=seed,
            policy=CROP_FLIP,
        )
        return network.state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_dropout_does_not_depend_on_what_was_drawn_before_the_training(draw_pack):
    def weights(n_drawn):
        network = tiny("mlp")
        torch.rand(n_drawn)
        train(network, draw_pack(24), phases={"p1": PHASE | {"epochs": 2}})
        return network.head.weight

    assert torch.equal(weights(1), weights(5))


def test_the_weights_of_the_best_epoch_are_left_and_not_those_of_the_last(draw_pack):
    pack = draw_pack(30)
    # What is learned from `pack` is wrong here, so that the first epochs are the best.
    validation = draw_pack(30, seed=5)
    validation = validation._replace(labels=(validation.labels + 1) % 3)
    network = tiny()
    slow = PHASE | {"optimizer": {"name": "adam", "lr": 0.0005}}
    fitted = train(network, pack, validation, phases={"p1": slow})
    accuracies = [row["validation_accuracy"] for row in fitted.history]
    best = max(fitted.history, key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
    assert accuracies[-1] < max(accuracies)
    assert fitted.best_epoch == best["epoch"] < len(fitted.history)
    assert not network.training
    left = score_logits(predict_logits(network, validation.images, **INPUT), validation.labels)
    assert left.accuracy == pytest.approx(best["validation_accuracy"], abs=1e-6)
    assert left.loss == pytest.approx(best["validation_loss"], abs=1e-5)


def test_of_epochs_with_equal_accuracy_the_one_with_the_lowest_loss_is_best(draw_pack):
    pack = draw_pack(32)
    fitted = train(tiny(), pack, phases={"p1": PHASE | {"epochs": 12}})
    perfect = [row for row in fitted.history if row["validation_accuracy"] == 1]
    assert len(perfect) > 2
    assert fitted.best_epoch == min(perfect, key=lambda row: row["validation_loss"])["epoch"]


def test_training_stops_early_after_its_patience(draw_pack):
    still = {"name": "sgd", "lr": 1e-30}
    phase = PHASE | {"epochs": 9, "optimizer": still, "stop": {"patience": 3}}
    fitted = train(tiny(), draw_pack(), phases={"p1": phase})
    assert [row["epoch"] for row in fitted.history] == [1, 2, 3, 4]
    assert fitted.best_epoch == 1


def test_without_stop_all_epochs_are_run(draw_pack):
    phase = PHASE | {"epochs": 5, "optimizer": {"name": "sgd", "lr": 1e-30}}
    assert len(train(tiny(), draw_pack(), phases={"p1": phase}).history) == 5


def test_phases_run_in_the_order_of_their_names_with_epochs_counted_on(draw_pack):
    phases = {
        "p2": PHASE | {"epochs": 2, "optimizer": {"name": "sgd", "lr": 0.5}},
        "p1": PHASE | {"epochs": 3, "trainable": "head"},
    }
    fitted = train(tiny(), draw_pack(), phases=phases)
    assert [(row["phase"], row["epoch"], row["learning_rate"]) for row in fitted.history] == [
        ("p1", 1, 0.01),
        ("p1", 2, 0.01),
        ("p1", 3, 0.01),
        ("p2", 4, 0.5),
        ("p2", 5, 0.5),
    ]
    assert all(tuple(row) == HISTORY_COLUMNS for row in fitted.history)
    assert fitted.phases["p1"]["n_epochs"] == 3
    assert fitted.phases["p1"]["n_trainable_parameters"] == 16 * 3 + 3
    assert fitted.phases["p2"]["n_trainable_parameters"] == 192 * 16 + 16 + 16 * 3 + 3
    assert fitted.best_epoch == fitted.phases["p2"]["best_epoch"] in (4, 5)


def test_a_phase_of_the_head_alone_changes_nothing_else(draw_pack):
    network = tiny("small_resnet")
    before = weights_of(network)
    train(network, draw_pack(), phases={"p1": PHASE | {"epochs": 2, "trainable": "head"}})
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head.weight", "head.bias"}


def test_a_second_phase_goes_on_from_the_best_epoch_of_the_first(draw_pack):
    pack = draw_pack(32)
    still = PHASE | {"epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-30}}
    fitted = train(tiny(), pack, phases={"p1": PHASE, "p2": still})
    first, last = fitted.phases["p1"], fitted.history[-1]
    assert last["validation_loss"] == first["validation_loss"]
    assert last["validation_accuracy"] == first["validation_accuracy"]


def test_a_loss_that_is_no_number_names_the_rate_and_says_to_lower_it(draw_pack):
    phase = PHASE | {"optimizer": {"name": "sgd", "lr": 1e30}}
    message = (
        r"the loss is no longer a number in phase p1, epoch 1 \(learning rate 1e\+30\); lower "
        r"phases.p1.optimizer.lr"
    )
    with pytest.raises(UserError, match=message):
        train(tiny(), draw_pack(), phases={"p1": phase})


def test_loss_and_accuracy_by_hand():
    logits = np.log(np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], np.float32))
    score = score_logits(logits, np.array([0, 1, 1]))
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.loss == pytest.approx(-(math.log(0.5) + math.log(0.1) + math.log(0.8)) / 3)


def test_the_metrics_of_a_training_tell_its_gap_and_its_last_phase(draw_pack):
    network = tiny()
    phases = {"p1": PHASE | {"epochs": 2, "trainable": "head"}, "p2": PHASE | {"epochs": 1}}
    fitted = train(network, draw_pack(), phases=phases)
    train_score = score_logits(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    score = score_logits(np.eye(3, dtype=np.float32), np.array([0, 1, 1]))
    metrics = training_metrics(network, fitted, train=train_score, validation=score)
    assert metrics["accuracy_gap"] == pytest.approx(1 / 3)
    assert (metrics["train_accuracy"], metrics["n_epochs"]) == (1, 3)
    assert metrics["best_epoch"] == 3
    assert metrics["n_trainable_parameters"] == metrics["n_parameters"] == count_parameters(network)
    assert list(metrics["phases"]) == ["p1", "p2"]


def test_a_training_is_described_by_what_its_weights_depend_on(draw_pack):
    description = describe_training(draw_pack(31), precision="fp32", threads=2)
    assert (description["precision"], description["threads"]) == ("fp32", 2)
    assert description["versions"]["torch"] == torch.__version__
    per_class = Counter(i % 3 for i in range(31))
    assert description["train_images_per_class"] == {f"class{i}": per_class[i] for i in range(3)}
