"""`classifold augmentations`: show what a policy does to images."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths


@report_errors()
def augmentations(  # noqa: PLR0917 - the command's options
    images: Annotated[list[Path], typer.Argument(callback=given_paths, help="Image files.")],
    policy: Annotated[str, typer.Option(help="A name of 'policies' in params.yaml.")],
    out: Annotated[Path, typer.Option(callback=given_paths, help="The page to write.")] = Path(
        "augmentations.html"
    ),
    draws: Annotated[int, typer.Option(min=1, max=200, help="The number of epochs to show.")] = 11,
    size: Annotated[
        int, typer.Option(min=8, max=1024, help="Width and height of the images in pixels.")
    ] = 96,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the augmentation.")] = 1,
) -> None:
    """Write a page that shows images as an on-the-fly augmentation policy transforms them."""
    from classifold.data.deep_ranges import NO_RANGES, RANGES_FILE, read_ranges
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import require_name, require_output
    from classifold.reporting.augmentations import write_gallery
    from classifold.serving.new_images import read_image_files

    require_output(out, example="augmentations.html")
    ingested = Path("data/ingested")
    ranges = read_ranges(ingested) if (ingested / RANGES_FILE).is_file() else NO_RANGES
    policies = check_params()["policies"]
    require_name(policy, "policies", policies)
    write_gallery(
        out,
        read_image_files(images, size=size, ranges=ranges),
        policies[policy],
        policy_name=policy,
        names=[path.name for path in images],
        n_epochs=draws,
        seed=seed,
    )
    print(f"{out}: policy {policy} on {len(images)} image{'s' * (len(images) != 1)}")
