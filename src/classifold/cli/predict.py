"""`classifold predict`: classify new images, and print a table or write a CSV file."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import (
    ModelName,
    ModelsFolder,
    expand_home,
    given_paths,
    start_folder,
)
from classifold.errors import UserError


@report_errors()
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            callback=expand_home,
            help="Image files, folders, zip or tar archives; or the word 'unlabelled', for the "
            "images of the image table that have no label.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(callback=given_paths, help="The CSV file to write; default: print a table."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="The number of classes listed per image.")] = 5,
    model: ModelName = "stack",
    models: ModelsFolder = Path("models"),
    *,
    abstain: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Predict only images with at least the confidence that this accuracy needs, such "
            "as 0.95: one of evaluate.abstention.accuracies. The others get a reason instead.",
        ),
    ] = None,
    context: typer.Context,
) -> None:
    """Classify new images with the trained stack, or with one model.

    Needs the models that 'dvc repro' trains. An image that cannot be decoded gets a row with the
    reason; if that holds for all images, the exit code is 1.
    """
    from classifold.project.prerequisites import require_output
    from classifold.reporting.formats import count
    from classifold.runtime.progress import track
    from classifold.serving.new_images import open_images
    from classifold.serving.predict import Classifier
    from classifold.serving.predictions_file import write_predictions
    from classifold.serving.predictions_table import lowest_level, print_predictions

    start = start_folder(context)
    if out is not None:
        require_output(out, example="predictions.csv")
        _refuse_to_overwrite(out, [start / image for image in images])
    classifier = Classifier.load(model=model, models=models, abstain=abstain)
    with open_images(images, ingested=classifier.ingested, start=start) as opened:
        n_images = len(opened.names)
        top = min(top, len(classifier.classes))
        predictions = track(
            classifier.predict(opened), task="predict", total=n_images, unit="images"
        )
        if out is None:
            counts = print_predictions(predictions, top=top)
        else:
            counts = write_predictions(
                out,
                predictions,
                task=classifier.task,
                top=top,
                levels=classifier.levels,
                novelty=classifier.comparison is not None,
            )
    name = "the stack" if model == "stack" else model
    place = f"{out}: " if out else ""
    if counts.n_unreadable == n_images:
        raise UserError(f"{place}none of {n_images:,} images could be read. Choose other files.")
    n_predicted = n_images - counts.n_unreadable - counts.n_abstained
    print(f"{place}predictions of {name} for {count(n_predicted, 'image')}")
    if counts.n_unreadable:
        print(f"{counts.n_unreadable:,} of {n_images:,} images could not be read; see the reasons")
    if counts.n_abstained:
        print(
            f"{counts.n_abstained:,} of {n_images:,} images have no prediction, since their "
            f"confidence is below the threshold for an accuracy of {abstain:g}"
        )
    if counts.n_remarks:
        print(
            f"{counts.n_remarks:,} of {n_images:,} images are unusual, such as unlike the training "
            "images; see the remarks"
        )
    shown = lowest_level(classifier.levels) if out is None else classifier.levels
    if explanation := classifier.explain_full_sets(shown):
        print(" ".join(explanation))


def _refuse_to_overwrite(out: Path, images: list[Path]) -> None:
    if out.is_file() and any(image.exists() and out.samefile(image) for image in images):
        raise UserError(f"--out: {out} is one of the images. Choose another file.")
