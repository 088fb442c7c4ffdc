"""The command line: one Typer app, one command per module of this package.

A command imports the code that it runs inside its function, so that no command waits for another
one's libraries.
"""

import typer
from threadpoolctl import threadpool_limits

from classifold.cli.augmentations import augmentations
from classifold.cli.check import check
from classifold.cli.export import export
from classifold.cli.lr_find import lr_find
from classifold.cli.plots_page import plots_page
from classifold.cli.predict import predict
from classifold.cli.recipe import recipe
from classifold.cli.refit import refit
from classifold.cli.report import report
from classifold.cli.search import search
from classifold.runtime.encoding import use_utf8

app = typer.Typer(
    help="A DVC pipeline that trains, evaluates and explains an image classifier.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    check,
    predict,
    export,
    report,
    augmentations,
    lr_find,
    search,
    refit,
    recipe,
    plots_page,
):
    app.command()(command)


@app.callback()
def start() -> None:
    """Prepare the process for any command."""
    use_utf8()
    threadpool_limits(1)  # as in stages: sums depend on the number of threads
