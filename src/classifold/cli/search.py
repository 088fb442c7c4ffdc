"""`classifold search`: search for better settings of a model."""

from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import given_paths

SEARCHES = Path(".cache/searches")  # not among the outputs, which DVC deletes before a stage


@report_errors(kept="finished trials are kept, and the same command continues the search")
def search(
    file: Annotated[
        Path,
        typer.Argument(
            callback=given_paths, help="A search file, such as one of studies/search/searches."
        ),
    ],
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="The number of processes that train.",
            envvar="CLASSIFOLD_SEARCH_WORKERS",
        ),
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///<file> or postgresql://…; default: a file in .cache/searches.",
            envvar="CLASSIFOLD_SEARCH_STORAGE",
        ),
    ] = None,
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Run no trial: write the best one so far to params.yaml."),
    ] = False,
) -> None:
    """Search for better settings of a model, or continue a search that was stopped.

    Needs the packs that 'dvc repro augment' makes. Several machines can work on one search: start
    it on each, with the same storage. A page, a table and metrics are written once all trials
    have ended.
    """
    from classifold.params.reader import PARAMS_FILE
    from classifold.params.validation import check_params
    from classifold.project.prerequisites import PACKS, require_packs
    from classifold.reporting.search_page import write_search_page
    from classifold.search.apply import apply_best
    from classifold.search.plan import make_plan
    from classifold.search.results import write_results
    from classifold.search.storage import FileLocks, storage_url
    from classifold.search.worker import run_search

    require_packs()
    plan = make_plan(file, check_params(), packs=PACKS)
    url = storage_url(storage, default=SEARCHES / f"{file.stem}.sqlite3")
    if apply:
        print("\n".join(apply_best(PARAMS_FILE, plan, url=url)))
        return
    rows = run_search(plan, url=url, n_workers=workers)
    page = Path("reports/search") / file.stem / "index.html"
    # Processes that end together write the same files.
    with FileLocks(SEARCHES / f"{file.stem}.locks").take("results", wait=True):
        write_search_page(page, rows, plan)
        best = write_results(
            rows, plan, metrics=Path("metrics/search"), table=page.with_name("trials.csv")
        )
    print(f"{best}; all trials: {page}")
