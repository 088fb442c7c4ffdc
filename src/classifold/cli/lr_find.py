"""`classifold lr-find`: a learning-rate range test."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths, require_finite
from classifold.errors import UserError, describe_choices


@report_errors()
def lr_find(
    model: Annotated[str, typer.Argument(help="A name of 'models' in params.yaml.")],
    out: Annotated[
        Path,
        typer.Option(
            callback=given_paths, help="The figure to write; a CSV file is written beside it."
        ),
    ] = Path("lr_find.png"),
    lowest: Annotated[
        float, typer.Option(min=1e-12, callback=require_finite, help="The first learning rate.")
    ] = 1e-6,
    highest: Annotated[
        float, typer.Option(min=1e-12, callback=require_finite, help="The last learning rate.")
    ] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="The number of learning rates.")] = 100,
    *,
    phase: Annotated[
        str | None,
        typer.Option(help="The phase to try; those before it are trained. By default the first."),
    ] = None,
) -> None:
    """Try increasing learning rates on a model's training images, and suggest one.

    Needs the packs that 'dvc repro augment' makes. Trained models are not changed.
    """
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import PACKS, require_name, require_output, require_packs
    from classifold.reporting.lr_plot import SUFFIXES, write_lr_plot
    from classifold.search.lr_finder import run_range_test
    from classifold.training.model_errors import explain_errors_of
    from classifold.training.setup import prepare

    require_output(out, example="lr_find.png", suffixes=SUFFIXES)
    require_output(out.with_suffix(".csv"), example="lr_find.csv")
    params = check_params()
    require_name(model, "models", params["models"])
    require_packs()
    if lowest >= highest:
        raise UserError(f"--lowest: must be below --highest ({highest:g}), got {lowest:g}.")
    settings = params["models"][model]
    if "phases" not in settings:
        raise UserError(
            f"models.{model}.network: must be trained in phases, got {settings['network']}, "
            "which has no learning rate. Choose another model."
        )
    phases = settings["phases"]
    if phase is not None and phase not in phases:
        choices = describe_choices(phase, sorted(phases))
        raise UserError(f"--phase: models.{model} has no phase '{phase}'. {choices}")
    with explain_errors_of(model):
        training = prepare(params["train"], settings, packs=PACKS)
        tried = run_range_test(
            training.network,
            training.train,
            config=training.config,
            policy=params["policies"][settings["online"]],
            machine=training.machine,
            cache=training.cache,
            validation=training.validation,
            phase=phase,
            lowest=lowest,
            highest=highest,
            n_steps=steps,
        )
    write_lr_plot(out, tried, model=model)
    print(
        f"{out}: the loss at {len(tried.rates)} learning rates. It falls fastest at "
        f"{tried.suggestion():.2g}, the suggested maximum learning rate of one_cycle and cyclical "
        "schedules; choose a constant learning rate somewhat lower"
    )
