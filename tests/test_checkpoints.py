"""Checkpoints: an interrupted training run continues and ends with the same bytes."""

import importlib
import os
import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from classifold.data.seeding import seed_torch
from classifold.models.model_file import build_network
from classifold.runtime.source_code import PACKAGE
from classifold.training.checkpoints import Checkpoint, training_key
from classifold.training.loop import fit
from classifold.training.machine import set_up
from classifold.training.optimizers import make_optimizer, match_memory_layout
from interruptions import Stopped, StoppingCheckpoint, bits_of, interrupted
from tiny_model import config_of

STEPS = [{"pad_crop": 0.2}, {"flip": "horizontal"}, {"mix": {"cutmix": 1.0}}]
POLICY = {"fill": "reflect", "steps": STEPS}
CONSTANT = {"name": "constant"}

# What must survive a stop: each optimizer's own state, each schedule's place.
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
CYCLICAL = {"name": "cyclical", "min_lr": 0.001, "step_size": 3}
ONE_CYCLE = {"name": "one_cycle", "pct_start": 0.3, "div_factor": 10, "final_div_factor": 100}
WAYS = {
    "plateau": (SGD | {"nesterov": True}, {"name": "plateau", "factor": 0.5, "patience": 0}),
    "cyclical": ({"name": "adam", "lr": 0.01}, CYCLICAL),
    "cosine": (
        {"name": "adamw", "lr": 0.01, "amsgrad": True},
        {"name": "cosine", "warmup_epochs": 1},
    ),
    "one_cycle": (SGD | {"weight_decay_on_norm": False}, ONE_CYCLE),
    "rmsprop": ({"name": "rmsprop", "lr": 0.001, "momentum": 0.5, "centered": True}, CONSTANT),
    "adadelta": ({"name": "adadelta", "lr": 1.0, "lr_factors": {"head": 2.0}}, CONSTANT),
}


def train(pack, phases, checkpoint=None, *, ema_decay=None):
    """Train a small network with convolutions in channels_last order and batch norm."""
    seed_torch(1, "weights")
    arguments = {"widths": [16, 24], "depth": 1, "dropout": 0.2}
    network = build_network("small_resnet", n_classes=3, image_size=8, arguments=arguments)
    loss = {"name": "cross_entropy", "label_smoothing": 0.1}
    settings = {"loss": loss, "ema_decay": ema_decay, "gradient_clip_norm": 1.0}
    config = config_of(pack, phases=phases, **settings)
    machine = set_up(device=torch.device("cpu"), precision="fp32")
    options = {"config": config, "policy": POLICY, "machine": machine, "checkpoint": checkpoint}
    return fit(network, pack, pack, **options), bits_of(network)


def two_phases(optimizer, schedule):
    first = {"name": "adam", "lr": 0.01}
    return {
        "p1": {"epochs": 2, "trainable": "head", "optimizer": first, "schedule": CONSTANT},
        "p2": {"epochs": 4, "trainable": "all", "optimizer": optimizer, "schedule": schedule},
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ema_decay", [None, 0.8])
@pytest.mark.slow
def test_a_training_interrupted_in_its_second_phase_ends_with_the_same_bits(
    draw_pack, tmp_path, way, ema_decay
):
    phases = two_phases(*WAYS[way])
    train_way = partial(train, draw_pack(24), phases, ema_decay=ema_decay)
    assert interrupted(train_way, tmp_path, after=4) == train_way()


@pytest.mark.parametrize("after", range(1, 7))
def test_a_training_may_be_interrupted_after_any_epoch_and_more_than_once(
    draw_pack, tmp_path, after
):
    train_way = partial(train, draw_pack(24), two_phases(*WAYS["one_cycle"]))
    path = tmp_path / "x.safetensors"
    for _ in range(2):
        with suppress(Stopped):
            train_way(StoppingCheckpoint(path, "key", after=after))
    assert train_way(Checkpoint(path, "key")) == train_way()


def test_early_stopping_continues_after_an_interruption(draw_pack, tmp_path):
    still = {"epochs": 9, "trainable": "all", "optimizer": {"name": "sgd", "lr": 1e-12}}
    phases = {"p1": still | {"schedule": CONSTANT, "stop": {"metric": "loss", "patience": 3}}}
    train_still = partial(train, draw_pack(24), phases)
    expected = train_still()
    assert len(expected[0].history) < 9
    assert interrupted(train_still, tmp_path, after=2) == expected


def test_a_saved_state_is_loaded_unchanged(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "x.safetensors", "key")
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    rows = [{"phase": "tensor at", "loss": 0.1 + 0.2}]
    plain = {"rows": rows, "none": None, "lowest": float("-inf")}
    moments = {0: {"step": torch.tensor(3.0), "half": torch.ones(2, dtype=torch.bfloat16)}}
    # Of memory that two names share; safetensors alone refuses it.
    checkpoint.save(plain | {"moments": moments, "weight": weight, "again": weight})
    loaded = checkpoint.load()
    assert [loaded[name] for name in plain] == list(plain.values())
    assert torch.equal(loaded["weight"], weight) and torch.equal(loaded["again"], weight)
    assert loaded["moments"]["0"]["half"].dtype == torch.bfloat16
    assert loaded["moments"]["0"]["step"].item() == 3


def test_a_checkpoint_of_another_training_is_ignored_with_a_message(tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    Checkpoint(path, "one").save({"a": 1})
    assert Checkpoint(path, "other").load() is None
    assert "other params, data or code" in capsys.readouterr().out


@pytest.mark.parametrize("n_bytes", [0, 7, 100])
def test_a_damaged_checkpoint_is_ignored_with_a_message(tmp_path, capsys, n_bytes):
    path = tmp_path / "x.safetensors"
    checkpoint = Checkpoint(path, "key")
    checkpoint.save({"weight": torch.rand(50)})
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert checkpoint.load() is None
    message = r"x\.safetensors: not readable .*starts from the beginning"
    assert re.search(message, capsys.readouterr().out)


def test_a_missing_checkpoint_loads_as_none(tmp_path):
    checkpoint = Checkpoint(tmp_path / "x.safetensors", "key")
    assert checkpoint.load() is None
    checkpoint.remove()  # nothing to remove is no error


def test_an_interruption_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "x.safetensors", "key")
    checkpoint.save({"epoch": 1})
    monkeypatch.setattr(os, "fsync", Mock(side_effect=Stopped))
    with pytest.raises(Stopped):
        checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 1}


def test_moments_have_the_memory_layout_of_their_parameters():
    network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, name="adam", lr=0.1)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    plain = {
        number: {name: value.contiguous() for name, value in of_parameter.items()}
        for number, of_parameter in state["state"].items()
    }
    laid_out = match_memory_layout({"state": plain, "param_groups": []}, optimizer)["state"]
    moments = laid_out[0]["exp_avg"]
    assert moments.stride() == network.weight.stride() != plain[0]["exp_avg"].stride()
    assert torch.equal(moments, plain[0]["exp_avg"])


def test_a_training_key_depends_on_params_and_data(tmp_path, write_packs):
    write_packs(tmp_path, train=4, validation=2)
    key = training_key({"a": 1, "b": [2]}, tmp_path)
    assert training_key({"b": [2], "a": 1}, tmp_path) == key
    assert training_key({"a": 1, "b": [3]}, tmp_path) != key
    write_packs(tmp_path, train=4, validation=2, seed=1)
    assert training_key({"a": 1, "b": [2]}, tmp_path) != key


def test_a_training_key_depends_only_on_code_that_changes_weights(tmp_path, monkeypatch):
    read, hashed = Path.read_bytes, set()
    monkeypatch.setattr(Path, "read_bytes", lambda path: hashed.add(path) or read(path))
    for module in ("cli.app", "networks.mlp", "params.validation"):
        importlib.import_module(f"classifold.{module}")
    training_key({}, tmp_path)
    names = {path.relative_to(PACKAGE).as_posix() for path in hashed}
    assert names >= {"training/loop.py", "models/model_file.py", "networks/mlp.py"}
    packages = {name.split("/")[0] for name in names}
    assert not packages & {"cli", "errors.py", "plain_text.py", "runtime"}
    assert {name for name in names if name.startswith("params/")} <= {"params/reader.py"}
