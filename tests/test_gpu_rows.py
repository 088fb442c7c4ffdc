"""The prepared run on a GPU, in a tiny form without one."""

import importlib.util
import json
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from forked_python import forked_tools
from image_scene import pillow

ROOT = Path(__file__).parents[1]


def load_rows():
    spec = importlib.util.spec_from_file_location("gpu_rows", ROOT / "benchmarks/gpu/rows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = load_rows()


def test_phases_are_shortened_in_proportion_to_the_time_that_is_left():
    phases = {"p1": {"epochs": 4}, "p2": {"epochs": 20}}
    costs = {"p1": 1.0, "p2": 2.0}  # 44 seconds in all
    assert ROWS.affordable_epochs(phases, costs, seconds=100) == {"p1": 4, "p2": 20}
    assert ROWS.affordable_epochs(phases, costs, seconds=22) == {"p1": 2, "p2": 10}
    assert ROWS.affordable_epochs(phases, costs, seconds=-1) == {"p1": 1, "p2": 1}


def test_every_row_is_a_model_of_its_recipe_and_the_shares_are_of_the_time():
    for row in ROWS.ROWS.values():
        assert row.model in ROWS.read_recipe(row.recipe)["models"]
    assert sum(row.fraction for row in ROWS.ROWS.values()) == pytest.approx(1)


def make_archive(path):
    """Two classes in the layout of Tiny ImageNet."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/wnids.txt", "n1\nn2\n")
        archive.writestr("tiny/words.txt", "n1\tdark\nn2\tbright\n")
        names = [f"train/{n}/images/{n}_{i}.JPEG" for n in ("n1", "n2") for i in range(20)]
        of_validation = [(f"val_{i}.JPEG", f"n{1 + i % 2}") for i in range(8)]
        lines = [f"{name}\t{wnid}\t0\t0\t9\t9\n" for name, wnid in of_validation]
        archive.writestr("tiny/val/val_annotations.txt", "".join(lines))
        for name in [*names, *(f"val/images/{name}" for name, _ in of_validation)]:
            pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
            archive.writestr(f"tiny/{name}", pillow(pixels, "JPEG"))


@pytest.mark.slow
def test_the_run_on_a_gpu_in_a_tiny_form(tmp_path):
    make_archive(tmp_path / "images.zip")
    pieces = tmp_path / "gpu/pieces"
    pieces.mkdir(parents=True)
    command = "tar -c images.zip | split -b 20k - gpu/pieces/pack."
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert len(list(pieces.iterdir())) > 2

    def gpu(*arguments):
        python = str(forked_tools() / "python")
        environment = os.environ | {"GPU_FOLDER": str(tmp_path / "gpu"), "PYTHON": python}
        done = subprocess.run(
            ["bash", ROOT / "benchmarks/gpu.sh", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    rows = ("AlphaNet_v4", "AlphaNet_v4b", "AlphaStack")
    gpu("run", "--tiny", "--rows", *rows)
    for name in rows:
        row = json.loads((tmp_path / f"gpu/results/{name}.json").read_text())
        low, high = row["test_accuracy_ci95"]
        assert (row["n_test"], row["n_classes"], row["n_validation"]) == (8, 2, 4)
        assert 0 <= low <= row["test_accuracy"] <= high <= 1
    lines = gpu("table").splitlines()
    assert "`alphastack_000`, 1 of 300 epochs" in lines[2] and "of 8 test images" in lines[2]
    assert "| BravoNet_v2 | 43.5 % | – | not run |" in lines
