"""Processes that train together: how many a stage starts, and which failure is reported."""

import json
import os

import numpy as np
import pytest
import torch

from classifold.errors import UserError
from classifold.training import launch as launch_module
from classifold.training.distributed_prediction import predict_distributed
from classifold.training.launch import count_processes, launch, report_first_failure

SETTINGS = {"launcher": "auto", "device": "auto", "threads": 1}


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("changes", "batch_size", "expected"),
    [
        ({}, 64, 4),
        ({}, 8, 2),  # four images of each step for each process
        ({}, 2, 1),
        ({"device": "cpu"}, 64, 1),
        ({"launcher": "none"}, 64, 1),
        ({"launcher": {"torchrun": 3}}, 64, 3),
        ({"launcher": {"torchrun": 8}, "device": "cpu"}, 64, 8),
    ],
)
def test_processes_where_there_are_four_gpus(four_gpus, changes, batch_size, expected):
    assert count_processes(SETTINGS | changes, batch_size=batch_size) == expected


def test_each_process_needs_its_own_gpu(four_gpus):
    with pytest.raises(UserError, match=r"train\.launcher\.torchrun: .* 4 \(cuda\), got 5.*auto"):
        count_processes(SETTINGS | {"launcher": {"torchrun": 5}}, batch_size=64)


def test_without_a_gpu_and_under_torchrun_nothing_is_started(monkeypatch):
    monkeypatch.setattr(launch_module, "_torchrun", lambda n: pytest.fail(f"started {n}"))
    launch(SETTINGS | {"device": "cpu"}, batch_size=64)
    monkeypatch.setenv("WORLD_SIZE", "1")
    launch(SETTINGS | {"launcher": {"torchrun": 2}}, batch_size=64)


def test_a_failure_in_one_process_is_not_changed():
    failure = UserError("hidden must be positive")
    with pytest.raises(UserError) as caught, report_first_failure():
        raise failure
    assert caught.value is failure


def test_each_of_several_processes_writes_its_failure_for_torchrun(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.setattr(launch_module, "SECONDS_FOR_THE_CAUSE", 0)

    def end(status):
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit), report_first_failure():
        raise UserError("hidden must be positive")
    assert json.loads((tmp_path / "error.json").read_text())["message"] == "hidden must be positive"
    with pytest.raises(SystemExit), report_first_failure():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [10.0.0.7]")
    message = json.loads((tmp_path / "error.json").read_text())["message"]
    assert message.startswith("torchrun: another process of this training run ended")
    assert "Connection closed by peer [10.0.0.7]'. If torchrun does not" in message
    with pytest.raises(RuntimeError, match="shapes"), report_first_failure():
        raise RuntimeError("shapes do not fit")  # a fault of ours: as it is


class Together:
    """The machine of one of several processes; what they add up is kept."""

    device = torch.device("cpu")

    def __init__(self, rank, n_processes, shared):
        self.n_processes, self.shared = n_processes, shared
        self.fabric = type("Fabric", (), {"global_rank": rank})

    def sum(self, array):
        self.shared.append(array)
        return sum(self.shared)


@pytest.mark.parametrize("n_images", [1, 64, 65, 200])
def test_processes_predict_to_the_bit_what_one_does(draw_pack, tiny_mlp, machine, n_images):
    settings = {"image_size": 8, "normalize": "half"}
    pack = draw_pack(n_images)
    alone = predict_distributed(tiny_mlp(), pack, machine=machine, **settings)
    shared = []
    for rank in range(3):
        found = predict_distributed(tiny_mlp(), pack, machine=Together(rank, 3, shared), **settings)
    assert np.array_equal(found, alone)
    assert (np.count_nonzero(shared, axis=0) <= 1).all()  # each image by one of them
