"""`classifold recipe`: list recipes, or write one to params.yaml."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.errors import UserError


@report_errors()
def recipe(
    name: Annotated[
        str | None, typer.Argument(help="The name of a recipe; none lists them all.")
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="Use its short form: few images, few epochs.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite uncommitted changes of params.yaml.")
    ] = False,
) -> None:
    """Write a recipe to params.yaml, and list what changed.

    A 'dataset' section that names your own images is kept. Uncommitted changes of other sections
    are refused without --force.
    """
    from classifold.params.reader import PARAMS_FILE
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import require_project
    from classifold.project.recipes import RECIPES, apply_recipe, list_recipes

    if name is None:
        for known, title in list_recipes(Path()).items():
            print(f"{known}: {title}")
        return
    require_project()
    changes = apply_recipe(name, short=short, force=force, root=Path())
    form = " in its short form" if short else ""
    print(f"{PARAMS_FILE} is now {RECIPES / name}.yaml{form}. Changes:")
    for line in changes:
        print(f"  {line}")
    from classifold.project.dataset import describe_dataset  # slower than the list of recipes

    try:
        for line in describe_dataset(check_params()["dataset"]):
            print(line)
    except UserError as missing:
        print(f"Before 'dvc repro': {missing}")
