"""`classifold check`: validate params.yaml, and repair DVC's own files."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.params.reader import PARAMS_FILE


@report_errors()
def check(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = PARAMS_FILE,
    cache: Annotated[
        bool, typer.Option("--cache", help="Delete damaged files from DVC's cache.")
    ] = False,
) -> None:
    """Validate params.yaml, and check that its networks can be built, before any stage runs.

    Nothing is computed. A dvc.lock that was cut short when DVC was killed is restored.
    """
    from classifold.data.model_settings import with_defaults
    from classifold.params.validation import check_params
    from classifold.project.dvc_files import repair_dvc_files
    from classifold.project.prerequisites import require_dataset

    for repair in repair_dvc_files(Path()):
        print(repair)
    if cache:
        _delete_damaged_files()
    params = check_params(path)
    require_dataset(params["dataset"])

    # PyTorch takes seconds to import: only once everything else is valid.
    from classifold.models.device import choose_device
    from classifold.training.try_model import (
        describe_scaling,
        describe_weights_mismatch,
        try_model,
    )

    choose_device(params["train"]["device"])
    size, task = params["augment"]["size"], params["dataset"]["task"]
    for name, given in params["models"].items():
        model = with_defaults(given, size=size, task=task)
        try_model(name, model)
        for warning in [*describe_scaling(model, size=size), *describe_weights_mismatch(model)]:
            print(f"Warning: models.{name}.{warning}.")
    models = ", ".join(params["models"])
    print(f"{path} is valid: dataset {params['dataset']['path']}, models {models}")


def _delete_damaged_files() -> None:
    from classifold.project.dvc_cache import find_damaged_files

    damaged = find_damaged_files(Path())
    for file in damaged:
        file.unlink()
        print(f"{file}: damaged, deleted")
    if damaged:
        print("Run 'dvc pull' to fetch what a remote has, and 'dvc repro' to compute the rest.")
    else:
        print("DVC's cache: no damaged file")
