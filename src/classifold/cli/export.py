"""`classifold export`: write a classifier as an ONNX file."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ModelName, ModelsFolder, given_paths
from classifold.errors import UserError


@report_errors()
def export(
    out: Annotated[Path, typer.Option(callback=given_paths, help="The file to write.")],
    file_format: Annotated[str, typer.Option("--format", help="The file format: onnx.")] = "onnx",
    model: ModelName = "stack",
    models: ModelsFolder = Path("models"),
) -> None:
    """Export the trained stack, or one model, as a file that other programs can run.

    Needs the models that 'dvc repro' trains. The file is kept only if its probabilities equal
    those of PyTorch, to rounding.
    """
    from classifold.project.prerequisites import PACKS, require_output
    from classifold.serving.export import export_onnx, read_validation_images, require_packages
    from classifold.serving.predict import Classifier

    if file_format != "onnx":
        raise UserError(f"--format: must be onnx, got {file_format}.")
    require_output(out, example="model.onnx")
    require_packages()
    classifier = Classifier.load(model=model, models=models)
    exported = export_onnx(out, classifier, read_validation_images(classifier, packs=PACKS))
    print(
        f"{out} is written. On {exported.n_images} validation images its probabilities differ from "
        f"those of PyTorch by at most {exported.max_difference:.1g}."
    )
