"""A clone of the project with synthetic images: the real pipeline, through the `dvc` command."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image, ImageDraw
from ruamel.yaml import YAML

from forked_python import forked_tools
from tiny_model import MODEL, PHASE

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
CLASSES = ("circle", "cross", "square")
N_IMAGES = 40  # of each class
OF_BOTH = MODEL | {
    "image_size": 16,
    "batch_size": 32,
    "phases": {"p1": PHASE | {"optimizer": {"name": "adam", "lr": 0.002}}},
}
MODELS = {
    "mlp": OF_BOTH | {"arguments": {"hidden": [32], "dropout": 0.0}},
    "resnet": OF_BOTH
    | {
        "network": "small_resnet",
        "arguments": {"widths": [8, 16], "depth": 1, "stem_stride": 2},
        "online": "crop_flip",
    },
}
POLICIES = ("none", "crop", "crop_flip")  # of the models; stages parse params.yaml twice
ATTACKS = {"images": 2, "epsilons": [4], "steps": 2}
ANALYSES = {  # everything that the stages compute, as little of it as possible
    "pca": {"size": 8},
    "tsne": {"images_per_class": 20, "perplexities": [4]},
    "robustness": {"images": 2, "severities": [1, 5], "adversarial": ATTACKS},
    "explain": {"images": 1, "smooth_samples": 1, "integrated_steps": 2},
}


class Clone:
    """A clone of the project with its own images."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def environment(self, *, forked: bool = False) -> dict[str, str]:
        """The project's tools first, perhaps forked (forked_python.py); no settings of the user."""
        tools = [forked_tools()] if forked else []
        return os.environ | {
            "PATH": os.pathsep.join(map(str, [*tools, TOOLS, os.environ["PATH"]])),
            "PYTHONPATH": str(self.root / "src"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "COLUMNS": "200",
        }

    def run(self, *command: str, expect: int | None = 0, forked: bool = True) -> str:
        """Run a command, whose exit status is as expected (None for any); return its output."""
        files = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT}
        place = {"cwd": self.root, "env": self.environment(forked=forked)}
        done = subprocess.run(command, **place, **files, text=True, check=False)
        if expect is not None:
            assert done.returncode == expect, done.stdout
        return done.stdout

    def repro(self, *arguments: str, expect: int | None = 0) -> str:
        return self.run("dvc", "repro", *arguments, expect=expect)

    def refused(self) -> str:
        """The output of a repro that must end with an error message and without a traceback."""
        output = self.repro(expect=None)
        assert "ERROR: failed to reproduce" in output
        assert "Traceback" not in output
        return output

    def restore(self) -> None:
        """Go back to the last commit and its results."""
        self.run("git", "checkout", "-q", ".")
        self.run("dvc", "checkout", "-q")

    def use_store(self, settings: dict[str, str]) -> None:
        """Push to a DVC remote, and pull from it; the settings stay on this machine."""
        self.run("dvc", "remote", "add", "-d", "-f", "--local", "store", settings["url"])
        for key in settings.keys() - {"url"}:
            self.run("dvc", "remote", "modify", "--local", "store", key, settings[key])

    def commit(self) -> None:
        self.run("git", "add", "-A")
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        self.run("git", *identity, "commit", "--allow-empty", "-qm", "A state")

    def metrics(self, name: str) -> dict:
        return json.loads((self.root / f"metrics/{name}.json").read_text())

    def change(self, text: str, replacement: str) -> None:
        """Replace `text` in params.yaml, which has it once."""
        path = self.root / "params.yaml"
        content = path.read_text()
        assert content.count(text) == 1
        path.write_text(content.replace(text, replacement))

    def content(self) -> dict[str, str]:
        """Hash of every file that the pipeline made, except those that may differ."""
        made = ("data", "models", "metrics", "ensemble")
        files = [path for folder in made for path in (self.root / folder).rglob("*")]
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '(.+?)':", output, flags=re.MULTILINE)


def draw(path: Path, shape: str, number: int, *, size: int = 24) -> None:
    draw_from = np.random.default_rng([CLASSES.index(shape), number])
    noise = draw_from.integers(0, 60, (size, size, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    pen = ImageDraw.Draw(image)
    x, y, r = draw_from.integers((8, 8, 4), (16, 16, 8)).tolist()
    color = tuple(draw_from.integers(120, 255, 3).tolist())
    match shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
        case "square":
            pen.rectangle((x - r, y - r, x + r, y + r), fill=color)
        case "cross":
            pen.line((x - r, y - r, x + r, y + r), fill=color, width=3)
            pen.line((x - r, y + r, x + r, y - r), fill=color, width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def draw_data(folder: Path, n_images: int = N_IMAGES) -> None:
    """Good images of each class, and one each: larger, gray, a duplicate, truncated, no image."""
    for shape in CLASSES:
        for number in range(n_images):
            draw(folder / shape / f"{number:02}.png", shape, number)
    draw(folder / "circle/large.png", "circle", 100, size=30)
    Image.open(folder / "cross/00.png").convert("L").save(folder / "cross/gray.png")
    shutil.copyfile(folder / "square/00.png", folder / "square/copy.png")
    whole = (folder / "square/01.png").read_bytes()
    (folder / "square/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")


def copy_clone(root: Path) -> None:
    """Copy the files of the repository and what is slow to make from them, but no results."""
    command = ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"]
    for name in filter(None, subprocess.check_output(command, text=True).split("\0")):
        if os.path.lexists(ROOT / name):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name, follow_symlinks=False)
    # Modules are compiled for sources of the same time, as copied ones.
    for made in (*ROOT.glob("src/**/*.pyc"), *ROOT.glob(".dvc/plots_page.html")):
        target = root / made.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(made, target)
    (root / "dvc.lock").unlink(missing_ok=True)
    shutil.rmtree(root / "metrics", ignore_errors=True)


def shorten_analyses(params: dict[str, Any]) -> None:
    for section, settings in ANALYSES.items():
        params[section] |= settings
    params["stack"]["dense"]["epochs"] = 5


def make_clone(root: Path) -> Clone:
    """A clone in which no stage has run."""
    copy_clone(root)
    for unused in ("benchmarks", "docs", "tests"):  # fewer files in Git are faster for DVC
        shutil.rmtree(root / unused)
    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text())
    params["dataset"]["path"] = "data/raw/synthetic"
    params["filter"]["size"]["rule"] = "modal"
    params["augment"] |= {"size": 16, "flips": ["none", "horizontal"], "warped": 1}
    params["train"]["threads"] = 1  # fastest for tiny networks, above all on a busy machine
    params["models"] = MODELS
    params["policies"] = {name: params["policies"][name] for name in POLICIES}
    shorten_analyses(params)
    params["explain"]["model"] = "resnet"
    yaml.dump(params, root / "params.yaml")

    clone = Clone(root)
    clone.run("git", "init", "-q")
    clone.run("classifold", "plots-page", ".dvc/plots_page.html")
    draw_data(root / "data/raw/synthetic")
    clone.run("dvc", "add", "-q", "data/raw/synthetic")
    clone.commit()
    return clone


def finished_clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone after `make repro JOBS=2`, committed.

    The first test process that needs it makes it; every caller gets a copy.
    """
    of_this_process = tmp_path_factory.getbasetemp()
    of_all = of_this_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_this_process
    made = Clone(of_all / "finished")
    with FileLock(of_all / "finished.lock"):
        if not made.root.exists():
            shutil.rmtree(of_all / "unfinished", ignore_errors=True)  # of a process that failed
            clone = make_clone(of_all / "unfinished")
            (clone.root / ".venv").mkdir()
            (clone.root / ".venv/.ready").touch()  # no set-up: the tools of these tests are used
            clone.run("make", "repro", "JOBS=2")
            clone.commit()
            clone.root.rename(made.root)
    copy = Clone(tmp_path_factory.mktemp("clone") / "project")
    shutil.copytree(made.root, copy.root, symlinks=True)
    # Without a refreshed index a checkout rewrites all copied files. Then pyproject.toml is newer
    # than the set-up, and make sets up again.
    copy.run("git", "update-index", "-q", "--refresh")
    return copy
