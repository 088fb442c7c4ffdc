"""`classifold check`: validate params.yaml, and repair DVC's own files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths
from classifold.params.reader import PARAMS_FILE
from classifold.project.check_cache import Outcome, fingerprint, read_outcome, write_outcome


@report_errors()
def check(
    path: Annotated[
        Path, typer.Argument(callback=given_paths, help="The file to check.")
    ] = PARAMS_FILE,
    cache: Annotated[
        bool, typer.Option("--cache", help="Delete damaged files from DVC's cache.")
    ] = False,
    params_only: Annotated[
        bool,
        typer.Option(
            "--params-only", help="Validate the values alone, without the data set and networks."
        ),
    ] = False,
) -> None:
    """Validate params.yaml, its data set and its networks before any stage runs.

    Nothing is computed, and no image is decoded. If nothing changed since a check that passed, its
    outcome is printed again. A dvc.lock that was cut short when DVC was killed is restored.
    """
    from classifold.params.validation import check_params
    from classifold.project.dvc_files import repair_dvc_files
    from classifold.runtime.progress import log, warn

    if params_only:
        check_params(path)
        return
    for repair in repair_dvc_files(Path()):
        print(repair)
    if cache:
        _delete_damaged_files()
    params = check_params(path)
    if params["dataset"]["path"].startswith("~"):
        params["dataset"]["path"] = _expand_home(path)
    key = fingerprint(params)
    outcome = read_outcome(key)
    if outcome is None:
        outcome = _check_project(params)
        if params["train"]["device"] in {"auto", "cpu"}:  # others depend on the machine
            write_outcome(key, outcome)
    for line in outcome.lines:
        log(line)
    for warning in outcome.warnings:
        warn([warning])
    models = ", ".join(params["models"])
    print(f"{path} is valid: dataset {params['dataset']['path']}, models {models}")


def _expand_home(path: Path) -> str:
    from classifold.project.dataset import expand_home

    expanded = expand_home(path)
    print(f"{path}: dataset.path is now {expanded}, since DVC does not expand ~")
    return expanded


def _check_project(params: Mapping[str, Any]) -> Outcome:
    from classifold.project.dataset import describe_dataset

    lines = list(describe_dataset(params["dataset"]))
    return Outcome(lines, list(_check_models(params)))


def _check_models(params: Mapping[str, Any]) -> Iterator[str]:
    """Build the networks without data, and yield warnings; PyTorch takes seconds to import."""
    from classifold.data.model_settings import with_defaults
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
            yield f"models.{name}.{warning}."


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
