"""Stage `report`: write the report, one HTML page, and the model card."""

from pathlib import Path

from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.reporting.facts import Folders, read_facts
from classifold.reporting.model_card import write_model_card
from classifold.reporting.page import write_page
from classifold.reporting.provenance import read_provenance
from classifold.runtime.progress import log, warn
from classifold.runtime.stage import run_stage


def main() -> None:
    text = PARAMS_FILE.read_text(encoding="utf-8")
    facts = read_facts(Folders.of(Path()), params=check_params(), params_text=text)

    provenance = read_provenance(Path())
    page = Path("reports/index.html")
    write_page(page, facts, provenance)
    write_model_card(page.with_name("MODEL_CARD.md"), facts, provenance)
    for lines in facts.warnings:
        warn(lines)
    log(f"  {page}: {page.stat().st_size / 2**20:.1f} MiB. Open it in a browser.")


if __name__ == "__main__":
    run_stage(main)
