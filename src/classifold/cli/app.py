"""The command line: one Typer app, one command per module of this package.

A command imports the code that it runs inside its function, so that no command waits for another
one's libraries.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from classifold.cli.augmentations import augmentations
from classifold.cli.check import check
from classifold.cli.drift import drift
from classifold.cli.experiments import experiments
from classifold.cli.export import export
from classifold.cli.fit import fit
from classifold.cli.init import init
from classifold.cli.lr_find import lr_find
from classifold.cli.plots_page import plots_page
from classifold.cli.predict import predict
from classifold.cli.recipe import recipe
from classifold.cli.refit import refit
from classifold.cli.report import report
from classifold.cli.search import search
from classifold.cli.serve import serve
from classifold.cli.stage import stage
from classifold.cli.upgrade import upgrade
from classifold.project.root import find_project
from classifold.runtime.encoding import use_utf8

app = typer.Typer(
    help="A DVC pipeline that trains, evaluates and explains an image classifier.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="markdown",  # lines of docstrings are joined to the width of the terminal
    pretty_exceptions_enable=False,
)

for command in (
    fit,
    init,
    check,
    predict,
    drift,
    serve,
    export,
    report,
    experiments,
    augmentations,
    lr_find,
    search,
    refit,
    recipe,
    stage,
    upgrade,
):
    app.command()(command)
app.command(hidden=True)(plots_page)  # for `make` and tests of what `dvc plots` shows


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"classifold {version('classifold')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Prepare the process for any command: it runs in the folder of the project."""
    use_utf8()
    threadpool_limits(1)  # as in stages: sums depend on the number of threads
    context.obj = Path.cwd()
    os.chdir(find_project(context.obj) or context.obj)
