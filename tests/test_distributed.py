"""The stage `train` under torchrun: two processes do together what one does alone."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from classifold.metrics_file import read_json

ROOT = Path(__file__).parents[1]

MODEL = {
    "network": "mlp",  # without batch norm and dropout, whose draws differ between processes
    "arguments": {"hidden": [16], "dropout": 0.0},
    "image_size": 8,
    "normalize": "half",
    "online": "crop_flip",
    "batch_size": 10,
    "seed": 1,
    "loss": {"name": "cross_entropy"},
    "phases": {
        "p1": {
            "epochs": 4,
            "trainable": "all",
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
            "schedule": {"name": "one_cycle", "pct_start": 0.3, "div_factor": 10,
                         "final_div_factor": 10},
            "stop": {"patience": 4},
        }
    },
}  # fmt: skip


@pytest.fixture
def workplace(tmp_path, write_packs):
    """A folder as the stage finds it: params and packs."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text())
    params["models"] = {"m": MODEL}
    params["explain"]["model"] = "m"
    params["train"] |= {"device": "cpu", "precision": "fp32", "threads": 1}
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    write_packs(tmp_path / "data/augmented", train=64, validation=30)
    return tmp_path


STAGE = [str(ROOT / "stages/train.py"), "m"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def run(folder, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


@pytest.mark.slow
def test_two_processes_end_where_one_does_and_one_of_them_writes(workplace):
    run(workplace, *STAGE)
    alone = load_file(workplace / "models/m/weights.safetensors")
    metrics = read_json(workplace / "metrics/train/m.json")
    shutil.rmtree(workplace / "models")

    told = run(workplace, *TORCHRUN, *STAGE).stdout
    together = load_file(workplace / "models/m/weights.safetensors")
    assert alone.keys() == together.keys()
    for name, weight in alone.items():
        np.testing.assert_allclose(together[name], weight, atol=2e-5)
    again = read_json(workplace / "metrics/train/m.json")
    assert again["validation_accuracy"] == metrics["validation_accuracy"]
    assert again["phases"]["p1"]["n_epochs"] == 4
    assert told.count("epoch 4/4") == 1  # one process talks
    assert not list(workplace.rglob("*.partial"))
    assert not list((workplace / ".cache/checkpoints").iterdir())


@pytest.mark.slow
def test_a_training_killed_with_all_its_processes_goes_on_and_ends_with_the_same_bytes(workplace):
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((workplace / "params.yaml").read_text())
    phases = params["models"]["m"]["phases"]
    phases["p1"]["epochs"] = 150
    phases["p1"]["stop"]["patience"] = 150
    with (workplace / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    run(workplace, *STAGE)
    expected = {path: path.read_bytes() for path in outputs(workplace)}
    assert expected
    shutil.rmtree(workplace / "models")
    shutil.rmtree(workplace / "metrics")

    checkpoint = workplace / ".cache/checkpoints/m.safetensors"
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, *STAGE],
            cwd=workplace,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (workplace / "models/m").exists()
    told = run(workplace, *STAGE).stdout
    assert "going on after epoch" in told
    assert {path: path.read_bytes() for path in outputs(workplace)} == expected


def outputs(folder):
    return [path for name in ("models", "metrics") for path in sorted((folder / name).rglob("*.*"))]
