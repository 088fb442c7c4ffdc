"""The command `classifold` in the process of the test."""

from typer.testing import CliRunner, Result

from classifold.cli.app import app


def classifold(*arguments: str, command=app, **options) -> Result:
    """Run the command: its exit code, output, and errors."""
    return CliRunner().invoke(command, arguments, **options)


def output_of(done: Result) -> str:
    """What a command that succeeded printed."""
    assert done.exit_code == 0, done.output
    return done.stdout


def error_of(done: Result, *, n_lines: int = 1) -> str:
    """The error of a command that was given a mistake: one line, without a traceback."""
    assert isinstance(done.exception, SystemExit), done.exception
    assert (done.exit_code, done.stderr.count("\n")) == (1, n_lines), done.output
    return done.stderr
