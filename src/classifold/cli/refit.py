"""`classifold refit`: train chosen models again, on training and validation images."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths


@report_errors(kept="models that were finished are kept")
def refit(
    models: Annotated[list[str], typer.Argument(help="Names of 'models' in params.yaml.")],
    out: Annotated[
        Path,
        typer.Option(callback=given_paths, help="The folder to write: one subfolder per model."),
    ] = Path("refit"),
) -> None:
    """Train chosen models again, on training and validation images together.

    Each phase takes as many epochs as the one that 'dvc repro' kept. Only the test images remain
    to evaluate the result; the score to report is that of 'dvc repro'. Outputs of the pipeline
    are not changed.
    """
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import require_name, require_output_folder
    from classifold.reporting.refit_card import write_refit_card
    from classifold.training.model_errors import explain_errors_of
    from classifold.training.refit import refit_model

    require_output_folder(out)
    params = check_params()
    for model in models:
        require_name(model, "models", params["models"])
    for model in models:
        with explain_errors_of(model):
            refitted = refit_model(model, params, root=Path(), folder=out / model)
        write_refit_card(
            out / model / "MODEL_CARD.md",
            model,
            params,
            **refitted._asdict(),
            metrics=Path("metrics/test.json"),
        )
    print(f"{out}: {', '.join(models)}, trained on training and validation images together")
