"""The command line: help, exit codes, and errors as one message."""

from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from classifold.cli.app import app
from classifold.cli.errors import report_errors
from classifold.errors import UserError

COMMANDS = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]


def invoke(function):
    one_command = typer.Typer()
    one_command.command()(function)
    return CliRunner().invoke(one_command)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["", *COMMANDS])
def test_short_and_long_help_options_are_equal(command):
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    assert "Usage: " in short.output


def test_help_lists_every_command():
    text = CliRunner().invoke(app, ["-h"]).output
    assert len(COMMANDS) == 10
    assert all(f" {name} " in text for name in COMMANDS)


def test_the_version_is_that_of_the_package():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"classifold {version('classifold')}\n")


def test_a_users_mistake_is_one_message():
    @report_errors()
    def command():
        raise UserError("split.seed: must be an integer, got x.")

    done = invoke(command)
    assert (done.exit_code, done.stderr) == (1, "split.seed: must be an integer, got x.\n")


def test_ctrl_c_is_one_message_that_names_what_is_kept():
    @report_errors(kept="finished models are kept")
    def command():
        raise KeyboardInterrupt

    done = invoke(command)
    assert done.exit_code == 130
    assert done.stderr.strip() == "stopped by Ctrl-C; finished models are kept"


def test_a_mistake_of_ours_keeps_its_traceback():
    @report_errors()
    def command():
        raise ZeroDivisionError

    assert isinstance(invoke(command).exception, ZeroDivisionError)
