"""`classifold fit`: from images to a report, in one command."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.init import RAISE, look, write_chosen
from classifold.cli.options import (
    ImageFolders,
    PresetName,
    PresetOption,
    given_paths,
    require_finite,
    start_folder,
)


@report_errors(kept="run the same command again to continue; finished stages and epochs are kept")
def fit(
    data: Annotated[
        Path,
        typer.Argument(
            callback=given_paths,
            metavar="PATH",
            help="Your labeled images: a folder, a zip or a tar archive.",
        ),
    ],
    preset: PresetOption = PresetName.QUICK,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            callback=require_finite,
            help="The time for everything: models and epochs are chosen by the measured speed.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            callback=given_paths,
            metavar="DIR",
            help="The folder of the project; default: here, with the name of the images.",
        ),
    ] = None,
    folders: ImageFolders = "auto",
    *,
    context: typer.Context,
) -> None:
    """Look at images, write a project for them, run its whole pipeline, and print the result.

    It is 'classifold init' and 'dvc repro'. The same command continues an interrupted run, and
    prints the result again after a finished one. Nothing is committed.
    """
    started = time.monotonic()
    from classifold.errors import UserError
    from classifold.project.existing_project import continues, require_preset
    from classifold.project.new_project import default_folder, require_new
    from classifold.project.pipeline_run import repro
    from classifold.project.timed_run import TimedRun
    from classifold.reporting.formats import duration
    from classifold.runtime.progress import log

    folder = out or default_folder(data, start_folder(context))
    if continues(folder, data):
        source = context.get_parameter_source("preset")
        if source and source.name != "DEFAULT":
            require_preset(folder, preset)
        log(f"{folder}: continues this project, with its copy of the images")
    else:
        require_new(folder, data, folder_option="--out", data_option="PATH")
        findings = look(data, folders=folders)
        if findings.failure:
            cause, remedy, is_over_limit = findings.failure
            raise UserError(
                f"{cause}. {remedy}, and run the same command again"
                + (
                    f"; or make a project with classifold init, and {RAISE}."
                    if is_over_limit
                    else "."
                )
            )
        write_chosen(folder, data, findings, preset=preset, timed=minutes is not None)
    if minutes is None:
        repro(folder)
    else:
        TimedRun(folder, minutes=minutes, started=started).run()
    log(f"Done in {duration(time.monotonic() - started)}.")
    _print_verdict(folder)


def _print_verdict(folder: Path) -> None:
    from classifold.params.reader import PARAMS_FILE
    from classifold.params.validation import check_params
    from classifold.project.verdict import describe_verdict
    from classifold.reporting.facts import Folders, read_facts
    from classifold.reporting.git import run_git
    from classifold.runtime.progress import log

    params = check_params(folder / PARAMS_FILE)
    facts = read_facts(Folders.of(folder), params=params, params_text="")
    for line in describe_verdict(facts, folder):
        log(line)
    has_changes = run_git(folder, "status", "--porcelain", "--", ".")
    log(
        f"next: cd {shlex.quote(str(folder))}, then: classifold predict <images>, or: classifold "
        "serve" + ("; git add -A && git commit -m 'First results'" if has_changes else "")
    )
