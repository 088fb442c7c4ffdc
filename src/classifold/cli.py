"""The command line: `classifold check`, `classifold plots-page`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from classifold.errors import UserError
from classifold.params import PARAMS_FILE, check_params
from classifold.plots_page import plots_page

EMBEDDED = Path("data/raw/digits")  # which the stage `digits` makes

app = typer.Typer(
    help="A pipeline from a folder of labelled images to a classifier its owner can defend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = PARAMS_FILE,
) -> None:
    """Check params.yaml against its schema, before any stage runs."""
    try:
        content = check_params(path)
        _require_data(Path(content["dataset"]["path"]))
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"{path} is right: {content['dataset']['path']}, models {', '.join(content['models'])}")


def _require_data(path: Path) -> None:
    """Say where the data are missing, before DVC says no more than that a file is not there."""
    made_by_dvc = path == EMBEDDED or path.with_name(path.name + ".dvc").is_file()
    if not path.exists() and not made_by_dvc:
        raise UserError(
            f"dataset.path in params.yaml names {path}, which does not exist; correct it, or add "
            f"your images with 'dvc add <folder or zip> -o {path}'"
        )


@app.command("plots-page")
def write_plots_page(path: Annotated[Path, typer.Argument(help="Where to write it.")]) -> None:
    """Write the page that `dvc plots` puts its charts into, so that they open offline."""
    path.write_text(plots_page(), encoding="utf-8")
