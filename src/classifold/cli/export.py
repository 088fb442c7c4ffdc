"""`classifold export`: write a classifier as an ONNX file, or a folder for the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ModelName, ModelsFolder, given_paths
from classifold.errors import UserError


@report_errors()
def export(  # noqa: PLR0917 - the command's options
    out: Annotated[
        Path, typer.Option(callback=given_paths, help="The file to write; for hub a new folder.")
    ],
    file_format: Annotated[
        str,
        typer.Option("--format", help="onnx: one file; hub: a folder for the Hugging Face Hub."),
    ] = "onnx",
    model: ModelName = "stack",
    models: ModelsFolder = Path("models"),
    repo: Annotated[
        str | None,
        typer.Option(
            help="For hub: the repository, such as alice/fruit; by default your-name/<folder>."
        ),
    ] = None,
    license_id: Annotated[
        str | None,
        typer.Option("--license", help="For hub: the license of the weights, such as apache-2.0."),
    ] = None,
) -> None:
    """Export the trained stack, or one model, for other programs and machines.

    Needs the models that 'dvc repro' trains. The result is kept only if its probabilities equal
    those of the project, to rounding.
    """
    if file_format == "onnx":
        for option, value in (("--repo", repo), ("--license", license_id)):
            if value:
                raise UserError(f"{option}: is only for --format hub, got {value}. Remove it.")
        _export_onnx(out, model=model, models=models)
    elif file_format == "hub":
        repo = repo or f"your-name/{out.resolve().name}"
        _export_hub(out, model=model, models=models, repo=repo, license_id=license_id)
    else:
        raise UserError(f"--format: must be onnx or hub, got {file_format}.")


def _export_onnx(out: Path, *, model: str, models: Path) -> None:
    from classifold.project.prerequisites import PACKS, require_output
    from classifold.serving.export import export_onnx, read_validation_images, require_packages
    from classifold.serving.predict import Classifier

    require_output(out, example="model.onnx")
    require_packages()
    classifier = Classifier.load(model=model, models=models)
    exported = export_onnx(out, classifier, read_validation_images(classifier, packs=PACKS))
    print(
        f"{out} is written. On {exported.n_images} validation images its probabilities differ from "
        f"those of PyTorch by at most {exported.max_difference:.1g}."
    )


def _export_hub(out: Path, *, model: str, models: Path, repo: str, license_id: str | None) -> None:
    from classifold.project.prerequisites import PACKS, require_new_folder
    from classifold.serving.export import read_validation_images
    from classifold.serving.hub import check_license, check_repository, export_hub
    from classifold.serving.predict import Classifier

    require_new_folder(out)
    check_repository(repo)
    if license_id:
        check_license(license_id)
    classifier = Classifier.load(model=model, models=models)
    exported = export_hub(
        out,
        classifier,
        read_validation_images(classifier, packs=PACKS),
        root=Path(),
        repository=repo,
        license_id=license_id,
        models=models,
    )
    if exported.library == "timm":
        print(f"{out} is written; timm loads it.")
    else:
        print(f"{out} is written; classifold loads it, timm does not: {exported.not_timm}.")
    print(exported.describe())
    print(f"Read and complete {out}/README.md. Upload: hf upload {repo} {out}")
