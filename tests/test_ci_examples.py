"""The examples for CI: valid, made of commands that exist, with no right that they do not need."""

import re
import shlex
from pathlib import Path

import pytest
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from ruamel.yaml import YAML

from command_line import classifold

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    path.relative_to(ROOT / "examples/ci").as_posix(): YAML(typ="safe").load(path.read_text())
    for path in sorted((ROOT / "examples/ci").rglob("*.yml"))
}
MEASURES, COMMENTS = EXAMPLES["github/report.yml"], EXAMPLES["github/comment.yml"]
GITLAB = EXAMPLES["gitlab/.gitlab-ci.yml"]


def scripts(name):
    """Every script of a file, as its shell sees it."""
    content = EXAMPLES[name]
    if name.startswith("github/"):
        steps = [step for job in content["jobs"].values() for step in job["steps"]]
        return [step["run"] for step in steps if "run" in step]
    return ["\n".join(job["script"]) for job in content.values() if "script" in job]


def commands(script):
    """The lines that call us, DVC or make, as lists of words; what a shell adds is cut off."""
    for line in script.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s#", line)[0].split("&&"):
            command = re.split(r"\s(?:>|\|)", part.strip())[0]
            if command.startswith(("dvc ", "make ", "classifold ")):
                yield shlex.split(command)


def require(command):
    """Parse a command as its program would; nothing runs."""
    match command:
        case ["make", *targets]:
            known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
            assert set(targets) <= set(known)
        case ["dvc", *arguments]:
            get_main_parser().parse_args(arguments)
        case ["classifold", *arguments]:
            # Options are read before the help is shown.
            assert classifold(*arguments, "--help").exit_code == 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_commands_of_examples_exist(name):
    called = [command for script in scripts(name) for command in commands(script)]
    for command in called:
        require(command)
    if name != "github/comment.yml":
        used = {" ".join(command[:2]) for command in called}
        assert {"dvc repro", "dvc metrics", "classifold report", "make setup"} <= used
        assert ["dvc", "repro", "--pull"] in called


MIN_COMMANDS = {"docs/SHARING": 20, "docs/EXPERIMENTS": 12, "README": 4, "CONTRIBUTING": 4}


@pytest.mark.parametrize("page", MIN_COMMANDS)
def test_commands_of_a_page_exist(page):
    text = (ROOT / f"{page}.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    called = list(commands("\n".join(lines)))
    assert len(called) >= MIN_COMMANDS[page]
    for command in called:
        require(command)


NOT_THERE = ["dvc pul", "dvc repro --pul-all", "make nothing", "classifold report --off"]


@pytest.mark.parametrize("command", NOT_THERE)
def test_a_command_that_does_not_exist_would_be_noticed(command):
    with pytest.raises((DvcParserError, AssertionError)):
        require(shlex.split(command))


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_expression_is_put_into_a_script_and_no_token_is_printed(name):
    for script in scripts(name):
        # A branch may be called `"; curl …`: what comes from a pull request comes by variables.
        assert "${{" not in script
        assert not re.search(r"set -\w*x|printenv|\benv\b *$", script, flags=re.MULTILINE)
        for line in script.splitlines():
            if "TOKEN" in line or "IDENTITY" in line:
                assert re.search(r'> "?[$\w]+"?\)?$', line) or line.startswith("test -n "), line


def test_code_of_a_pull_request_runs_with_no_secret_and_no_right_to_write():
    assert set(MEASURES["on"]) == {"pull_request"}  # never pull_request_target
    assert MEASURES["permissions"] == {"contents": "read", "id-token": "write"}
    text = (ROOT / "examples/ci/github/report.yml").read_text()
    assert "secrets." not in text and "github.token" not in text
    (job,) = MEASURES["jobs"].values()
    assert "permissions" not in job
    checkout, *_ = job["steps"]
    assert checkout["with"]["persist-credentials"] is False
    no_fork = "github.event.pull_request.head.repo.full_name == github.repository"
    for step in job["steps"]:
        if "credentials" in step.get("uses", ""):
            assert step["if"] == no_fork


def test_who_may_write_runs_nothing_of_the_pull_request():
    assert COMMENTS["permissions"] == {}
    (job,) = COMMENTS["jobs"].values()
    assert job["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert COMMENTS["on"]["workflow_run"]["workflows"] == [MEASURES["name"]]
    used = [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]
    assert used == ["actions/download-artifact"]
    assert GITLAB["comment"]["variables"] == {"GIT_STRATEGY": "none"}
    for script in (*scripts("github/comment.yml"), "\n".join(GITLAB["comment"]["script"])):
        assert not re.search(r"\b(python|dvc|make|bash|sh|source|pip)\b", script)
        assert "test ! -L" in script  # a link to the token would be printed as text


def test_a_fork_of_a_gitlab_project_is_given_nothing():
    for job in ("report", "comment"):
        (rule,) = GITLAB[job]["rules"]
        assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID" in rule["if"]
