"""The stage `train` under torchrun: two processes do together what one does alone."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import psutil
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

import tiny_model
from classifold.data.json_file import read_json
from forked_python import forked_tools
from stage_process import free_port, run_python

ROOT = Path(__file__).parents[1]

ONE_CYCLE = {"name": "one_cycle", "pct_start": 0.3, "div_factor": 10, "final_div_factor": 10}
PHASE = {
    "epochs": 4,
    "trainable": "all",
    "stop": {"patience": 4},
    "schedule": ONE_CYCLE,
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
}
MODEL = tiny_model.MODEL | {
    "arguments": {"hidden": [16], "dropout": 0.0},
    "online": "crop_flip",
    "batch_size": 10,
    "phases": {"p1": PHASE},
}


@contextlib.contextmanager
def params_of(folder):
    """The params of a folder, which can be changed."""
    yaml, path = YAML(typ="safe", pure=True), folder / "params.yaml"
    params = yaml.load(path.read_text())
    yield params
    with path.open("w") as file:
        yaml.dump(params, file)


@pytest.fixture
def workplace(tmp_path, write_packs):
    """A folder as the stage finds it: params and packs."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    with params_of(tmp_path) as params:
        params["models"] = {"m": MODEL}
        params["explain"]["model"] = "m"
        params["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    write_packs(tmp_path / "data/augmented", train=64, validation=30)
    return tmp_path


STAGE = [str(ROOT / "stages/train.py"), "m"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def process_settings(folder, **environment):
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return {"cwd": folder, "env": environment, "start_new_session": True}


@pytest.mark.cluster
def test_two_processes_end_where_one_does_and_one_of_them_writes(workplace):
    run_python(workplace, *STAGE)
    alone = load_file(workplace / "models/m/weights.safetensors")
    metrics = read_json(workplace / "metrics/train/m.json")
    shutil.rmtree(workplace / "models")

    output = run_python(workplace, *TORCHRUN, *STAGE).stdout
    together = load_file(workplace / "models/m/weights.safetensors")
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        np.testing.assert_allclose(together[name], weight, atol=2e-5)
    again = read_json(workplace / "metrics/train/m.json")
    assert again["validation_accuracy"] == metrics["validation_accuracy"]
    assert again["phases"]["p1"]["n_epochs"] == 4
    assert output.count("epoch 4/4") == 1  # one process talks
    assert not list(workplace.rglob("*.partial"))
    assert not list((workplace / ".cache/checkpoints").iterdir())


HEADS = {
    "frozen": {"network": "timm", "phases": {"p1": PHASE | {"trainable": "head"}}},
    "probe": {"network": "probe", "head": {"name": "logistic", "c": [0.01, 0.1]}},
    "fisher": {
        "network": "fisher_vectors",
        "arguments": {"components": 2, "dimensions": 2, "cells": [2], "octaves": 1},
        "head": {"name": "logistic", "c": 0.01},
    },
}


@pytest.mark.cluster
@pytest.mark.parametrize("kind", HEADS)
def test_two_processes_compute_the_features_of_a_frozen_body_once(workplace, kind):
    kept = {"image_size": 32, "normalize": "half", "online": "none", "seed": 1}
    model = {"arguments": {"name": "test_efficientnet"}, **kept, **HEADS[kind]}
    with params_of(workplace) as params:
        params["models"] = {"m": model | ({"batch_size": 10} if kind == "frozen" else {})}

    weights = []
    for words in (STAGE, [*TORCHRUN, *STAGE]):
        output = run_python(workplace, *words).stdout
        assert output.count("validation accuracy") > 0
        assert len(list((workplace / ".cache/features").glob("*.npy"))) == 2
        shutil.rmtree(workplace / ".cache/features")
        weights.append(load_file(workplace / "models/m/weights.safetensors"))
    for name, expected in weights[0].items():
        np.testing.assert_allclose(weights[1][name], expected, atol=1e-4, err_msg=name)


# torchrun's node that stays sends its address to others again only if it does not share its store.
ELASTIC = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def start_node(folder, port, *, python, **environment):
    """One of up to two computers that train together; it shares no disk with the other."""
    elastic = [
        *("-m", "torch.distributed.run", "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1"),
        "--rdzv-conf=last_call_timeout=1,keep_alive_interval=1",
    ]
    command = [python, *elastic, str(ROOT / "tests/watched_train.py"), *STAGE]
    with (folder / "output.txt").open("a") as output:
        settings = process_settings(folder, **ELASTIC, **environment)
        return subprocess.Popen(command, **settings, stdout=output, stderr=subprocess.STDOUT)


def wait_until(happens, nodes, *, what, seconds=400):
    deadline = time.monotonic() + seconds
    while not happens():
        assert {node.poll() for node in nodes} <= {None, 0}, f"a node ended before {what}"
        assert time.monotonic() < deadline, f"no {what} in {seconds} s"
        time.sleep(0.05)


def processes_in(folder):
    """The processes whose current folder this is."""
    running = psutil.process_iter(["cwd"])
    return [p.pid for p in running if p.info["cwd"] == str(folder)]


@pytest.mark.cluster
def test_a_node_that_is_killed_and_comes_back_costs_no_epoch_and_every_image_is_shown_once(
    workplace,
):
    arguments = {"channels": [4, 6], "hidden": [16, 12], "dropout": 0.0}
    with params_of(workplace) as params:
        model = params["models"]["m"]
        model |= {"network": "initial_cnn", "arguments": arguments, "image_size": 16}
        model["phases"]["p1"]["epochs"] = 7
    first, second = workplace, workplace.with_name(f"{workplace.name}-second")
    shutil.copytree(first, second)
    watched = first / "watched.jsonl"
    watched.touch()
    port = free_port()

    def processes():
        return [json.loads(line)["processes"] for line in watched.read_text().splitlines()]

    forked = {"python": forked_tools() / "python", "WATCHED": str(watched)}
    nodes = [start_node(first, port, **forked, HOLD="1")]
    try:
        wait_until(lambda: is_open(port), nodes, what="rendezvous")
        lost = start_node(second, port, **forked | {"python": sys.executable}, HOLD="2,2")
        wait_until(lambda: processes()[-2:] == [2, 2], [*nodes, lost], what="epochs of both")
        assert len(processes_in(second)) == 2
        lost.kill()
        lost.wait()
        wait_until(lambda: not processes_in(second), nodes, what="end of what it had started")
        wait_until(lambda: processes()[-1] == 1, nodes, what="epoch of the one that is left")
        # A computer that comes back without its disk.
        shutil.rmtree(second / ".cache")
        nodes.append(start_node(second, port, **forked))
        wait_until(lambda: all(n.poll() is not None for n in nodes), [], what="end")
    finally:
        for node in nodes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
            node.wait(60)
    output = (first / "output.txt").read_text() + (second / "output.txt").read_text()
    assert [node.returncode for node in nodes] == [0, 0], output
    rows = [json.loads(line) for line in watched.read_text().splitlines()]
    assert {(row["least"], row["most"]) for row in rows} == {(1, 1)}
    last = {row["epoch"]: row["processes"] for row in rows}
    assert list(last) == [1, 2, 3, 4, 5, 6, 7]

    (made,) = [folder for folder in (first, second) if (folder / "models/m").exists()]
    turns = [number for number, _ in groupby(last.values())]
    assert turns[-3:] == [2, 1, 2]  # perhaps after an epoch before the second had come
    assert read_json(made / "models/m/model.json")["processes"] == turns
    for folder in (first, second):
        assert not [path for path in (folder / ".cache/checkpoints").rglob("*") if path.is_file()]
    together = load_file(made / "models/m/weights.safetensors")
    run_python(first, *STAGE)
    for name, weight in load_file(first / "models/m/weights.safetensors").items():
        np.testing.assert_allclose(together[name], weight, atol=5e-5)


def is_open(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def launch_stage(workplace, python, **changes):
    """Let the stage start two processes by itself, with other settings of its model."""
    with params_of(workplace) as params:
        params["train"]["launcher"] = {"torchrun": 2}
        params["models"]["m"] |= changes
    # In the background of a script Ctrl-C is ignored, by children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([python, *STAGE], **process_settings(workplace), **pipes)


@pytest.mark.cluster
def test_the_stage_starts_two_processes_and_reports_an_error_once_without_a_traceback(
    workplace, tmp_path, monkeypatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    python = forked_tools() / "python"
    process = launch_stage(workplace, python, arguments={"hidden": [-3]})
    output, errors = process.communicate(timeout=400)
    assert (output, len(errors.splitlines())) == ("", 1)
    assert "models.m.network: mlp cannot be built" in errors

    process = launch_stage(workplace, python, arguments={"hidden": [16]})
    output, errors = process.communicate(timeout=400)
    assert (process.returncode, errors) == (0, "")
    assert output.count("train/m: done") == 1
    assert read_json(workplace / "models/m/model.json")["processes"] == [2]
    assert not list(temporary.iterdir())


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_whatever_ends_the_stage_ends_its_processes(workplace, ending, status):
    phase = PHASE | {"epochs": 100_000, "stop": {"patience": 100_000}}
    # Forked processes have another parent, so they do not end with a stage that is killed.
    python = sys.executable if ending == signal.SIGKILL else forked_tools() / "python"
    process = launch_stage(workplace, python, phases={"p1": phase})
    while "epoch 1/" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    # torchrun and two processes; each forked one has its command, too.
    assert len(processes_in(workplace)) == (3 if python == sys.executable else 6)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert errors.count("stopped by Ctrl-C") == (ending == signal.SIGINT)
    wait_until(lambda: not processes_in(workplace), [], what="end of all", seconds=30)
    assert not (workplace / "models/m").exists()
