"""An installed wheel brings the library, the stages, the recipes and every command."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from classifold.cli.app import app
from classifold.runtime.source_code import PACKAGE
from forked_python import forked_tools
from synthetic_clone import CLASSES, ROOT, copy_clone, draw

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the content of the wheel, built without a network from a clone."""
    root = tmp_path_factory.mktemp("wheel")
    copy_clone(root / "clone")
    (root / "clone/build/lib/classifold/repository/recipes").mkdir(parents=True)
    (root / "clone/build/lib/classifold/repository/recipes/old.yaml").touch()  # an earlier build
    build = ("wheel", "--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir", str(root))
    command = [sys.executable, "-m", "pip", *build, str(root / "clone")]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PIP_NO_INDEX": "1"})
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    shutil.rmtree(root / "clone")
    return root / "site"


@pytest.fixture
def classifold(installed, tmp_path):
    """Run a command of the installed package in a folder that is in no clone."""

    def run(*arguments):
        done = subprocess.run(
            [forked_tools() / "classifold", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_has_every_file_of_the_package_and_no_other_code(installed):
    inside = {path.relative_to(installed).as_posix() for path in files_of(installed)}
    package = {f"classifold/{path.relative_to(PACKAGE).as_posix()}" for path in files_of(PACKAGE)}
    repository = {
        f"classifold/repository/{path.relative_to(ROOT).as_posix()}"
        for folder in ("stages", "recipes", ".dvc/plots", "examples/ci")
        for path in files_of(ROOT / folder)
    }
    roots = {"dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config"}
    repository |= {f"classifold/repository/{name}" for name in roots}
    assert {name for name in inside if ".dist-info/" not in name} == package | repository


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_the_hash_of_the_sources_is_that_of_the_clone(installed):
    code = "from classifold.runtime.source_code import *; print(PACKAGE, hash_of_sources())"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for path in (installed, ROOT / "src")
    ]
    assert outputs[0][0] == str(installed / "classifold")
    assert outputs[0][1] == outputs[1][1]


def test_every_command_and_recipe_is_there(classifold):
    text = classifold("--help")
    hidden = {command.callback.__name__ for command in app.registered_commands if command.hidden}
    names = {command.callback.__name__ for command in app.registered_commands} - hidden
    assert not [name for name in names if f" {name.replace('_', '-')} " not in text]
    recipes = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
    listed = classifold("recipe").splitlines()
    assert [line.partition(":")[0] for line in listed] == recipes


@pytest.mark.promise("package-alone")
def test_a_stage_runs_outside_of_a_clone(classifold, tmp_path):
    for shape in CLASSES:
        draw(tmp_path / f"data/raw/shapes/{shape}/1.png", shape, 1)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("path: data/raw/digits.zip", "path: data/raw/shapes")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert "3 images of 3 classes" in classifold("stage", "ingest")
    assert (tmp_path / "metrics/ingest.json").is_file()
    assert (tmp_path / "timings/ingest.json").is_file()
