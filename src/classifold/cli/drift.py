"""`classifold drift`: test whether new images are like those that the classifier was tested on."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ModelName, expand_home, require_finite, start_folder

FOUND, ERROR = 1, 2  # exit codes


@report_errors(exit_code=ERROR)
def drift(
    images: Annotated[
        list[str],
        typer.Argument(
            callback=expand_home,
            help="Image files, folders, zip or tar archives; or the word 'unlabelled', for the "
            "images of the image table that have no label.",
        ),
    ],
    alpha: Annotated[
        float,
        typer.Option(
            min=0.005,
            max=0.5,
            callback=require_finite,
            help="The probability of a false alarm, for all tests together.",
        ),
    ] = 0.05,
    top: Annotated[int, typer.Option(min=0, help="The number of images listed.")] = 5,
    model: ModelName = "stack",
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the text.")
    ] = False,
    context: typer.Context,
) -> None:
    """Test whether new images are like the test images, on which the score was measured.

    Features, predicted classes, brightness, contrast, saturation, sharpness and size are compared.
    The exit code is 0 if no difference is found, 1 if one is found, and 2 after an error. Needs the
    outputs of 'dvc repro'.
    """
    from classifold.serving.drift import find_drift
    from classifold.serving.drift_text import to_json, to_text
    from classifold.serving.new_images import open_images
    from classifold.serving.predict import Classifier

    classifier = Classifier.load(model=model)
    start = start_folder(context)
    with (
        redirect_stdout(sys.stderr),  # the progress
        open_images(images, ingested=classifier.ingested, start=start) as opened,
    ):
        report = find_drift(Path(), classifier, opened, alpha=alpha, top=top)
    print((to_json if as_json else to_text)(report))
    if report.drift.found:
        raise typer.Exit(FOUND)
