"""The command line: help, exit codes, and errors as one message."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from archives import write_files
from classifold.cli.app import app
from classifold.cli.errors import report_errors
from classifold.errors import UserError
from classifold.params.reader import read_params
from classifold.project import check_cache
from classifold.project.root import find_project
from command_line import classifold, error_of, output_of

ROOT = Path(__file__).parents[1]
COMMANDS = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]


def end_of_failing_command(error, **settings):
    """The end of a command that raises an error."""
    one_command = typer.Typer()

    @one_command.command()
    @report_errors(**settings)
    def command():
        raise error

    return classifold(command=one_command)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["", *COMMANDS])
def test_short_and_long_help_options_are_equal(command):
    short, long = (classifold(*command, option) for option in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    assert "Usage: " in short.output


def test_help_lists_every_command_for_people():
    text = classifold("-h").output
    assert len(COMMANDS) == 17
    assert [name for name in COMMANDS if f" {name} " not in text] == ["plots-page"]  # hidden


def test_the_version_is_that_of_the_package():
    done = classifold("--version")
    assert (done.exit_code, done.output) == (0, f"classifold {version('classifold')}\n")


@pytest.mark.parametrize(
    ("settings", "error", "exit_code", "message"),
    [
        ({}, UserError("seed: must be an integer."), 1, "^seed: must be an integer.\n$"),
        ({"exit_code": 2}, UserError("no such name"), 2, "^no such name\n$"),
        ({"kept": "all is kept"}, KeyboardInterrupt(), 130, "^\nstopped by Ctrl-C; all is kept\n$"),
    ],
)
def test_an_error_of_a_command_is_its_message_and_exit_code(settings, error, exit_code, message):
    done = end_of_failing_command(error, **settings)
    assert done.exit_code == exit_code
    assert re.search(message, done.stderr)


@pytest.mark.parametrize(
    "command",
    [["fit", "x.zip", "--minutes"], ["lr-find", "x", "--lowest"], ["drift", "x", "--alpha"]],
)
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_numbers_of_options_are_finite(command, value):
    done = classifold(*command, value)
    assert done.exit_code == 2
    assert f"Invalid value for '{command[-1]}'" in done.output


def test_a_mistake_of_ours_keeps_its_traceback():
    assert isinstance(end_of_failing_command(ZeroDivisionError()).exception, ZeroDivisionError)
    done = end_of_failing_command(ZeroDivisionError(), exit_code=2)
    assert done.exit_code == 2
    assert re.search("(?s)^Traceback.*ZeroDivisionError", done.stderr)


@pytest.fixture
def small_project(tmp_path, monkeypatch):
    """A project with two classes of images, which nothing decodes; the process is in it."""
    root = tmp_path / "project"
    names = ("dvc.yaml", "stages/a.py", "data/raw/digits/a/1.png", "data/raw/digits/b/1.png")
    write_files(root, dict.fromkeys(names, b""))
    text = (ROOT / "params.yaml").read_text()
    text = text.replace("device: auto", "device: cpu").replace("digits.zip ", "digits ")
    (root / "params.yaml").write_text(text)
    (root / "recipes").mkdir()
    (root / "recipes/own.yaml").write_text("# Our own\n" + text)
    monkeypatch.chdir(root)
    return root


def test_commands_find_the_project_from_a_subfolder(small_project, monkeypatch):
    below = small_project / "data/raw"
    assert (find_project(below), find_project(small_project.parent)) == (small_project, None)
    outputs = {"check": "digits: layout folder, 2 images, 2 classes", "recipe": "own: Our own\n"}
    for command, words in outputs.items():
        monkeypatch.chdir(below)
        assert words in classifold(command).stdout


def test_given_paths_start_where_the_user_is_and_defaults_in_the_project(
    small_project, monkeypatch
):
    text = Path("params.yaml").read_text()
    Path("data/mine.yaml").write_text(text.replace("batch_size: 64", "batch_size: 0", 1))
    monkeypatch.chdir(small_project / "data")
    assert "data/mine.yaml: 1 validation error" in classifold("check", "mine.yaml").stderr
    monkeypatch.chdir(small_project / "data")
    assert classifold("check").exit_code == 0
    monkeypatch.setenv("HOME", str(small_project / "data"))
    assert "mine.yaml: 1 validation error" in classifold("check", "~/mine.yaml").stderr


def test_outside_of_a_project_the_message_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["recipe", "fruit_64"], ["check"]):
        assert "Run in the folder of a project" in error_of(classifold(*arguments))
    assert not list(tmp_path.iterdir())
    assert "fruit_64: Fruit" in classifold("recipe").stdout  # those of the package


def test_params_alone_are_checked_without_the_data_set(small_project):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("raw/digits", "raw/nothing"))
    done = classifold("check", "--params-only")
    assert (done.exit_code, done.output) == (0, "")
    Path("params.yaml").write_text(text.replace("  mlp:", "  a;b:"))
    assert "models.a;b: " in error_of(classifold("check", "--params-only"), n_lines=2)


def test_an_unknown_stage_is_named_with_those_that_exist(small_project):
    error = error_of(classifold("stage", "trian"))
    assert "train" in error and "'trian'" in error


def test_home_in_the_path_of_the_data_set_is_expanded(small_project, monkeypatch):
    monkeypatch.setenv("HOME", str(small_project / "data"))
    before = Path("params.yaml").read_text()
    Path("params.yaml").write_text(before.replace("path: data/raw", "path: ~/raw"))
    done, path = classifold("check"), f"{small_project}/data/raw/digits"
    assert done.exit_code == 0, done.output
    assert f"params.yaml: dataset.path is now {path}, since DVC does not expand ~" in done.stdout
    after = Path("params.yaml").read_text()
    assert read_params("dataset.path") == path
    (changed,) = [line for line in before.splitlines() if line not in after]
    assert changed == "  path: data/raw/digits # a folder, or a zip or tar archive"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "data/raw/digits has 0 files and no image among them"),
        (
            ["a/1.png", "a/2.png"],
            "must have at least 2 classes, got 1 (a). Add images of another class. In the layout "
            "folder, each class is a folder, as in data/raw/digits/cherry/1.jpg and",
        ),
        (["1.png", "2.png"], "are in no class folder"),
    ],
)
def test_check_looks_at_the_data(small_project, files, message):
    assert classifold("check").exit_code == 0  # and its outcome is known
    for path in Path("data/raw/digits").rglob("*.png"):
        path.unlink()
    for name in files:
        (Path("data/raw/digits") / name).touch()
    assert message in error_of(classifold("check"))


def test_data_that_dvc_tracks_may_be_missing(small_project):
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("data/raw/digits", "photos/train"))
    assert "photos/train does not exist" in classifold("check").stderr
    Path("photos.dvc").touch()
    assert "'dvc pull' fetches it" in classifold("check").stdout


def test_only_what_changed_is_checked_again(small_project, monkeypatch):
    assert classifold("check").exit_code == 0
    cache = Path(".cache/check.json")

    def comes_from_the_cache():
        content = json.loads(cache.read_text())
        cache.write_text(json.dumps(content | {"lines": ["marked"]}))
        return "marked" in output_of(classifold("check"))

    assert comes_from_the_cache()
    Path("data/raw/digits/b/2.png").touch()
    assert not comes_from_the_cache()
    assert comes_from_the_cache()
    monkeypatch.setattr(check_cache, "hash_of_sources", lambda: "other code")
    assert not comes_from_the_cache()
    monkeypatch.setattr(check_cache, "_packages", lambda: {"torch-0.1"})
    assert not comes_from_the_cache()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("seed: 1", "seed: 2", 1))
    assert not comes_from_the_cache()
    cache.write_text("[")
    assert classifold("check").exit_code == 0
    assert comes_from_the_cache()


def test_the_packages_of_setuptools_are_no_change(tmp_path, monkeypatch):
    before = check_cache._packages()
    for folder, is_change in (("_vendor", False), ("site-packages", True)):
        (tmp_path / folder / "other-1.0.dist-info").mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / folder)
        assert (check_cache._packages() != before) == is_change


def test_warnings_of_check_are_repeated_if_nothing_changed(small_project):
    text = Path("params.yaml").read_text()
    smaller = text.replace("    seed: 1", "    image_size: 8\n    seed: 1", 1)
    Path("params.yaml").write_text(smaller)
    first, second = classifold("check"), classifold("check")
    assert first.exit_code == 0, first.output
    (warning,) = (line for line in first.stdout.splitlines() if "WARNING" in line)
    assert re.match(r"  WARNING: models\.mlp\.image_size: reduces .* to 8\. Remove", warning)
    assert first.stdout == second.stdout


WITHOUT_TORCH = """
import sys
from classifold.cli.app import app
try:
    app(sys.argv[1:])
finally:
    assert not {"torch", "pyarrow", "cv2"} & set(sys.modules)
"""


@pytest.mark.parametrize("command", ["--help", "recipe", "check"])
def test_quick_commands_import_no_slow_library(small_project, command):
    assert classifold("check").exit_code == 0
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, command], env=environment, check=True)


def test_tab_completion_knows_the_commands():
    completion = {"_CLASSIFOLD_COMPLETE": "complete_bash", "COMP_WORDS": "classifold re"}
    done = classifold(prog_name="classifold", env=completion | {"COMP_CWORD": "1"})
    assert done.stdout.split() == ["report", "refit", "recipe"]


def test_git_ignores_what_commands_write_by_default(small_project, tmp_path):
    defaults = {
        option.default
        for command in typer.main.get_command(app).commands.values()
        for option in command.params
        if option.name == "out" and option.default
    }
    assert len(defaults) >= 3
    written = [str(path if path.suffix else path / "a") for path in defaults]
    written += ["lr_find.csv", "metrics/search/digits.json"]
    command = ["git", "-C", ROOT, "check-ignore", "--no-index", *written]
    assert set(subprocess.check_output(command, text=True).split()) == set(written)
