"""`classifold stage`: run a stage, as `dvc.yaml` of a project does."""

import runpy
import sys
from typing import Annotated

import typer

from classifold.cli.errors import report_errors


@report_errors()
def stage(
    name: Annotated[str, typer.Argument(help="The stage, such as ingest or train.")],
    item: Annotated[
        str | None, typer.Argument(help="Of the stages train and folds: the model.")
    ] = None,
) -> None:
    """Run one stage in the folder of the project; 'dvc repro' runs those that are not up to date.

    Its inputs must be there, and its outputs are replaced.
    """
    from classifold.errors import UserError, describe_choices
    from classifold.project.pipeline_file import check_code
    from classifold.project.repository import list_stages

    scripts = list_stages()
    if name not in scripts:
        raise UserError(f"stage: there is no stage '{name}'. {describe_choices(name, scripts)}")
    check_code(name, item)
    # As if it were started as a script: torchrun and worker processes start it again.
    sys.argv = [str(scripts[name]), *([] if item is None else [item])]
    runpy.run_path(sys.argv[0], run_name="__main__")
