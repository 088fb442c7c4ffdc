"""`classifold plots-page`: write the template that `dvc plots` renders its charts into."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths


@report_errors()
def plots_page(
    path: Annotated[Path, typer.Argument(callback=given_paths, help="The file to write.")],
) -> None:
    """Write the page template of 'dvc plots', so that its charts open offline."""
    from classifold.project.plots_page import write_plots_page

    write_plots_page(path)
