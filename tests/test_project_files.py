"""What a visitor or a service reads first: links that lead somewhere, commands that exist."""

import re
import shlex
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from classifold.project.prerequisites import EMBEDDED

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def read_yaml(name):
    return YAML(typ="safe").load((ROOT / name).read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    # Data and results exist after a run alone.
    files = re.findall(r"`((?:src|stages|tests|studies|docs|examples|recipes)/[\w./]+)`", text)
    assert not [file for file in files if not (ROOT / file).exists()]


def test_the_workflow_runs_the_two_commands_of_the_readme():
    first = re.search(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
    promised = re.findall(r"^\$ (make \w+)", first, flags=re.MULTILINE)
    assert promised == ["make repro", "make test"]
    workflow = read_yaml(".github/workflows/test.yml")
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert set(promised) <= set(commands)
    assert {command.removeprefix("make ") for command in commands} <= set(TARGETS)
    assert workflow["permissions"] == {"contents": "read"}
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert oldest in workflow["jobs"]["test"]["strategy"]["matrix"]["python"]


def test_hooks_before_a_commit_use_the_tools_that_set_up_installs():
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    tools = {shlex.split(hook["entry"])[0] for hook in repository["hooks"]}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/dvc"}


def test_the_citation_names_the_version_and_the_license_of_the_package():
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_the_embedded_data_set_is_that_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    with zipfile.ZipFile(ROOT / EMBEDDED) as archive:
        names = sorted(archive.namelist(), key=lambda name: name.rpartition("/")[2])
        pixels = [np.asarray(Image.open(archive.open(name))) for name in names]
    assert names == [f"{label}/{i:04}.png" for i, label in enumerate(labels)]
    np.testing.assert_array_equal(pixels, np.rint(images.reshape(-1, 8, 8) / 16 * 255))
