"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ModelName = Annotated[str, typer.Option(help="'stack', or a name of 'models' in params.yaml.")]
ModelsFolder = Annotated[
    Path,
    typer.Option(help="The folder of trained models; that of 'classifold refit' is 'refit'."),
]
