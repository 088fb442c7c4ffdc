"""`classifold predict`: classify new images, and write a CSV."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ModelName, ModelsFolder
from classifold.errors import UserError


@report_errors()
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, zip or tar archives; or the word 'unlabelled', for the "
            "images of the image table that have no label."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    top: Annotated[int, typer.Option(min=1, help="The number of classes listed per image.")] = 5,
    model: ModelName = "stack",
    models: ModelsFolder = Path("models"),
) -> None:
    """Classify new images with the trained stack, or with one model.

    Needs the models that 'dvc repro' trains. An image that cannot be decoded gets a row with the
    reason.
    """
    from classifold.runtime.progress import track
    from classifold.serving.new_images import open_images
    from classifold.serving.predict import Classifier
    from classifold.serving.predictions_file import write_predictions

    classifier = Classifier.load(model=model, models=models)
    with open_images(images, ingested=classifier.ingested) as opened:
        _refuse_to_overwrite(out, images)
        n_images = len(opened.names)
        n_unreadable, n_remarks = write_predictions(
            out,
            track(classifier.predict(opened), task="predict", total=n_images, unit="images"),
            task=classifier.task,
            top=min(top, len(classifier.classes)),
        )
    name = "the stack" if model == "stack" else model
    print(f"{out}: predictions of {name} for {n_images - n_unreadable:,} images")
    if n_unreadable:
        print(f"{n_unreadable:,} of {n_images:,} images could not be read; see the column reason")
    if n_remarks:
        print(
            f"{n_remarks:,} of {n_images:,} images are unlike the training images; see the column "
            "remark"
        )


def _refuse_to_overwrite(out: Path, images: list[str]) -> None:
    if out.is_file() and any(Path(name).exists() and out.samefile(name) for name in images):
        raise UserError(f"--out: {out} is one of the images. Choose another file.")
