"""Two clones on two systems give the same bytes, whatever their environment."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages_in_one_process import run_stages
from synthetic_clone import MODELS, draw_data, shorten_analyses

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

DATA = ("ingest", "filter", "split", "augment")
MODEL = ("train mlp", "train resnet", "folds mlp", "folds resnet", "compare", "stack", "evaluate")
REST = ("pca", "tsne", "novelty", "robustness", "explain", "report")
MADE = ("data", "models", "metrics", "ensemble")


class Copy:
    """A copy of the project with synthetic images, in an environment of its own."""

    def __init__(self, root, *, cores=0, umask=0o022, **environment):
        self.root, self.cores, self.umask = root, cores, umask
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
        self.environment = kept | environment | {"PYTHONPATH": str(root / "src")}
        for folder in ("stages", "src"):
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        yaml = YAML()
        params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["dataset"]["path"] = "data/raw/synthetic"
        params["augment"] |= {"size": 16, "flips": ["none", "horizontal"], "warped": 1}
        params["models"] = MODELS
        params["stack"]["folds"] = 2
        shorten_analyses(params)
        params["explain"] |= {"model": "resnet", "images": 4, "smooth_samples": 2}
        params["tsne"]["perplexities"] = [5, 10]
        yaml.dump(params, root / "params.yaml")

    def run(self, *stages):
        run_stages(
            self.root,
            stages,
            python=sys.executable,
            environment=self.environment,
            cores=self.cores,
            umask=self.umask,
        )

    def content(self):
        """Hashes of all outputs except times and the report."""
        files = [path for folder in MADE for path in (self.root / folder).rglob("*")]
        return {
            path.relative_to(self.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }


@pytest.mark.promise("same-bytes")
def test_outputs_do_not_depend_on_path_locale_clock_user_order_of_files_or_cores(tmp_path):
    here = Copy(tmp_path / "here", OMP_NUM_THREADS="2")
    draw_data(here.root / "data/raw/synthetic")
    here.run(*DATA, *MODEL, *REST)

    locale = tmp_path / "locales" / "tr_TR.ISO-8859-9"  # of 8 bits
    locale.parent.mkdir()
    if shutil.which("localedef"):
        made = ["localedef", "-i", "tr_TR", "-f", "ISO-8859-9", str(locale)]
        subprocess.run(made, check=False, capture_output=True)
    there = Copy(
        tmp_path / "Başka bir klasör 数" / "proje",
        cores=1,
        umask=0o077,
        OMP_NUM_THREADS="1",
        LC_ALL=locale.name if locale.is_dir() else "POSIX",
        LOCPATH=str(locale.parent),
        TZ="Pacific/Chatham",
        USER="başka biri",
        HOME=str(tmp_path),
        PYTHONHASHSEED="4711",
    )
    files = [path for path in (here.root / "data/raw").rglob("*") if path.is_file()]
    for number in np.random.default_rng(0).permutation(len(files)):  # another order on the disk
        target = there.root / files[number].relative_to(here.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[number], target)
    there.run(*DATA, *reversed(MODEL[:4]), *MODEL[4:], *REST)
    assert (there.root / "data/ingested/classes.json").stat().st_mode & 0o077 == 0
    expected = here.content()
    assert len(expected) > 150
    content = there.content()
    assert {n for n in expected | content if expected.get(n) != content.get(n)} == set()

    # With several processes, which are otherwise not used for few images, and all cores.
    parallel = there.root / "src/classifold/runtime/parallel.py"
    text = parallel.read_text(encoding="utf-8")
    assert "MIN_ITEMS_FOR_PROCESSES = 1000" in text
    parallel.write_text(text.replace("PROCESSES = 1000", "PROCESSES = 10"), encoding="utf-8")
    there.cores = 0
    there.run(*DATA)
    assert there.content() == expected
