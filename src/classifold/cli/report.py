"""`classifold report`: compare this run with another revision, as a page."""

import re
from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths
from classifold.errors import UserError


@report_errors()
def report(
    against: Annotated[
        str, typer.Option(help="The branch, tag, commit or experiment to compare with.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            callback=given_paths, help="The page to write; default: reports/against-NAME.html."
        ),
    ] = None,
) -> None:
    """Write a report that compares this run with the scores, data and params of another revision.

    Needs the outputs of 'dvc repro'. Differences have confidence intervals if DVC's cache holds
    the predictions of the other revision.
    """
    from classifold.params.reader import PARAMS_FILE
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import require_output
    from classifold.reporting.comparison import compare
    from classifold.reporting.facts import Folders, read_facts
    from classifold.reporting.page import write_page
    from classifold.reporting.provenance import read_provenance
    from classifold.reporting.revision import read_revision

    if out is not None:
        require_output(out, example="report.html")
    params = check_params()
    try:
        text = PARAMS_FILE.read_text(encoding="utf-8")
        facts = read_facts(Folders.of(Path()), params=params, params_text=text)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: no such file, so there is nothing to compare. Run 'dvc repro', or "
            "'dvc pull dvc.yaml' if a remote has the results."
        ) from None
    comparison = compare(facts, read_revision(Path(), against))
    name = re.sub(r"[^\w.-]+", "-", against)
    page = out or Path("reports") / f"against-{name}.html"
    write_page(page, facts, read_provenance(Path()), comparison)
    print(comparison.sentence)
    print(f"The page: {page}")
