"""Write the report: one HTML page that opens offline."""

from collections.abc import Mapping
from pathlib import Path

from classifold.data.predictions import MAJORITY, STACK
from classifold.reporting.comparison import Comparison
from classifold.reporting.environment import render
from classifold.reporting.facts import Facts
from classifold.reporting.formats import duration
from classifold.reporting.provenance import Provenance
from classifold.reporting.sections.analysis import analysis_section
from classifold.reporting.sections.augmentation import augmentation_section
from classifold.reporting.sections.data import data_section
from classifold.reporting.sections.label_errors import label_errors_section
from classifold.reporting.sections.models import models_section
from classifold.reporting.sections.robustness import robustness_section
from classifold.reporting.sections.split import split_section
from classifold.reporting.sections.stack import stack_section
from classifold.reporting.sections.summary import describe_limit, summarize
from classifold.reporting.sections.test import test_section
from classifold.reporting.tables import Cell, Column, Table
from classifold.runtime.atomic_files import new_file


def write_page(
    path: Path, facts: Facts, provenance: Provenance, comparison: Comparison | None = None
) -> None:
    """Write the report; the file is replaced atomically.

    Args:
        path: HTML file to write; its folder is created if necessary.
        facts: settings and results of the run.
        provenance: commit of the code and versions of the packages.
        comparison: with another revision, if any.
    """
    page = render(
        "report.html",
        facts=facts,
        metrics=facts.metrics,
        metric=facts.main_metric,
        multi=facts.task == "multi",
        provenance=provenance,
        comparison=comparison,
        summary=summarize(facts),
        short_form=describe_limit(facts.params["limit"]),
        STACK=STACK,
        MAJORITY=MAJORITY,
        **data_section(facts),
        **label_errors_section(facts),
        **split_section(facts),
        **augmentation_section(facts),
        **models_section(facts),
        **stack_section(facts),
        **test_section(facts),
        **robustness_section(facts),
        **analysis_section(facts),
        timings=timings_table(facts.seconds),
        total_seconds=sum(facts.seconds.values()),
        training_seconds=sum(facts.seconds.get(f"train/{name}", 0.0) for name in facts.models),
    )
    with new_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def timings_table(seconds: Mapping[str, float]) -> Table:
    """Tabulate the running time of each stage."""
    columns = [Column("stage"), Column("time", numeric=True)]
    rows = [
        [Cell(name.replace("/", "@"), name), Cell(duration(value), value)]
        for name, value in seconds.items()
    ]
    return Table("Running time of each stage", columns, rows)
