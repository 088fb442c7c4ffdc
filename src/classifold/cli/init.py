"""`classifold init`: write a project for a folder or an archive of images."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ImageFolders, PresetName, PresetOption, given_paths

if TYPE_CHECKING:
    from classifold.project.findings import Findings

RAISE = "raise ingest.max_unreadable in params.yaml"


@report_errors(kept="the folder is as before")
def init(
    folder: Annotated[
        Path,
        typer.Argument(callback=given_paths, metavar="DIR", help="A new or an empty folder."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            callback=given_paths, help="Your labeled images: a folder, a zip or a tar archive."
        ),
    ],
    folders: ImageFolders = "auto",
    preset: PresetOption = PresetName.QUICK,
) -> None:
    """Look at images, and write a project for them: a Git repository with DVC's pipeline.

    Names and labels of all images are read, and a sample is decoded. The choices are in the head of
    params.yaml, and are yours to change. DVC gets a copy of the images. Nothing is overwritten.
    'classifold fit' also runs the pipeline.
    """
    from classifold.project.new_project import require_new
    from classifold.runtime.progress import log, warn

    require_new(folder, data)
    findings = look(data, folders=folders)
    write_chosen(folder, data, findings, preset=preset)
    if findings.failure:
        cause, remedy, is_over_limit = findings.failure
        advice = f"{remedy}, and run classifold init again in a new folder"
        more = f"; or {RAISE}, and the files will be excluded." if is_over_limit else "."
        warn(["the stage ingest will stop", f"{cause}.", advice + more])
    else:
        log(f"Next: cd {shlex.quote(str(folder))} && git commit -m 'New project' && dvc repro")


def look(data: Path, *, folders: str) -> "Findings":
    """Look at images, and print what was found."""
    from classifold.errors import UserError
    from classifold.project.findings import describe, find
    from classifold.runtime.progress import log

    try:
        findings = find(data, folders=folders)
    except UserError as error:
        if str(error).startswith("dataset.folders:"):
            raise UserError(f"{error} Name it with --folders.") from None
        raise
    log(f"{data}:")
    for line in describe(findings):
        log(f"  {line}")
    return findings


def write_chosen(
    folder: Path, data: Path, findings: "Findings", *, preset: str, timed: bool = False
) -> None:
    """Write a project, and print what was chosen."""
    from classifold.project.choices import wrap
    from classifold.project.new_project import path_in_project, write_project
    from classifold.project.presets import Machine, Preset
    from classifold.runtime.chunks import count_cores
    from classifold.runtime.progress import log

    machine = Machine(count_cores(), _gpu())
    choices = write_project(folder, data, findings, machine, preset=Preset(preset, timed))
    log("Choices, in params.yaml:")
    for choice in choices:
        for line in wrap(choice, prefix="  "):
            log(line)
    log(f"DVC has a copy of the images: {folder / path_in_project(data)}")


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
