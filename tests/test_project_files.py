"""What a visitor or a service reads first: links that lead somewhere, commands that exist."""

import os
import re
import shlex
import subprocess
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from classifold.project.prerequisites import EMBEDDED
from classifold.runtime.ray_cluster import QUIET

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data/raw/README.md"])
STUDIES = ("gan", "leakage", "learning_curve", "search")
DVC_FILES = ["dvc.yaml", *(f"studies/{name}/dvc.yaml" for name in STUDIES)]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def read_yaml(name):
    return YAML(typ="safe").load((ROOT / name).read_text())


def text_of(page):
    """The text of a page, without blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text_of(page))
    assert not [link for link, _ in links if not (page.parent / link).exists()]
    linked = [(page.parent / link if link else page, anchor) for link, anchor in links if anchor]
    assert not [anchor for target, anchor in linked if anchor not in anchors(target)]


def test_anchors_by_hand(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b_c`: d, e\n\n```console\n# no heading\n```\n\n## Two-way\n")
    assert anchors(page) == {"a-b_c-d-e", "two-way"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_have_at_most_100_characters(page):
    lines = [line for line in text_of(page).splitlines() if not line.startswith("|")]
    # A long address cannot be wrapped.
    too_long = [line for line in lines if len(line) > 100 and " " in line.strip()]
    assert not too_long


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    # Data and results exist after a run alone.
    files = re.findall(r"`((?:src|stages|tests|studies|docs|examples|recipes)/[\w./]+)`", text)
    assert not [file for file in files if not (ROOT / file).exists()]


@pytest.mark.promise("python")
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


@pytest.mark.promise("check-params")
def test_make_repro_begins_with_the_check_of_params():
    lines = run("make", "--no-print-directory", "-n", "repro").splitlines()
    assert [line for line in lines if line in {"classifold check", "dvc repro"}] == [
        "classifold check",
        "dvc repro",
    ]


@pytest.mark.promise("all-pages")
def test_the_index_of_documents_lists_all_pages():
    links = re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}
    assert (len(links), set(links)) == (len(pages), pages)


@pytest.mark.promise("no-statistics")
def test_statistics_of_dvc_and_ray_are_off():
    config = ConfigParser()
    config.read(ROOT / ".dvc/config")  # of a project, too: `classifold init` copies it
    assert config["core"]["analytics"] == "false"
    assert QUIET["RAY_USAGE_STATS_ENABLED"] == "0"


def outputs(file):
    """The outputs and metrics in a dvc.yaml, with `x` for each `${key}` and `${item}`."""
    for stage in read_yaml(file)["stages"].values():
        settings = stage.get("do", stage)
        for entry in [*settings["outs"], *settings.get("metrics", [])]:
            name = entry if isinstance(entry, str) else next(iter(entry))
            path = Path(file).parent / settings.get("wdir", "") / re.sub(r"\$\{\w+\}", "x", name)
            yield Path(os.path.normpath(path))


@pytest.mark.parametrize("file", DVC_FILES)
def test_git_ignores_and_make_clean_removes_outputs_except_metrics(file):
    paths = set(outputs(file))
    committed = {path for path in paths if path.parent.name == "metrics"}
    # A folder is ignored if what it contains is.
    files = {str(path if path.suffix else path / "a"): path for path in paths}
    ignored = run("git", "check-ignore", "--no-index", *files).split()
    assert {files[name] for name in ignored} == paths - committed
    removed = {
        Path(name) for name in shlex.split(run("make", "--no-print-directory", "-n", "clean"))
    }
    covered = {path for path in paths if removed & {path, *path.parents}}
    assert covered == paths - committed


def test_make_clean_keeps_data_and_removes_unfinished_work():
    removed = shlex.split(run("make", "--no-print-directory", "-n", "clean"))
    assert removed[:2] == ["rm", "-rf"]
    assert {".cache/checkpoints", ".cache/folds", ".cache/refit", ".cache/features"} < set(removed)
    assert not {"data", "data/raw", "metrics", ".cache", ".dvc", ".cache/searches"} & set(removed)


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_hooks_before_a_commit_use_the_tools_that_set_up_installs():
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    tools = {shlex.split(hook["entry"])[0] for hook in repository["hooks"]}
    assert tools == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/dvc"}


@pytest.mark.promise("license")
def test_the_citation_names_the_version_and_the_license_of_the_package():
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


@pytest.mark.promise("digits")
def test_the_embedded_data_set_is_that_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    with zipfile.ZipFile(ROOT / EMBEDDED) as archive:
        names = sorted(archive.namelist(), key=lambda name: name.rpartition("/")[2])
        pixels = [np.asarray(Image.open(archive.open(name))) for name in names]
    assert names == [f"{label}/{i:04}.png" for i, label in enumerate(labels)]
    np.testing.assert_array_equal(pixels, np.rint(images.reshape(-1, 8, 8) / 16 * 255))
