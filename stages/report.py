"""Stage `report`: one page that tells what the run was and what came of it."""

from pathlib import Path

from classifold.params import PARAMS_FILE, check_params
from classifold.progress import say
from classifold.reporting.facts import Folders, read_facts
from classifold.reporting.page import write_page
from classifold.reporting.provenance import read_provenance
from classifold.stage import run_stage


def main() -> None:
    folders = Folders(
        ingested=Path("data/ingested"),
        filtered=Path("data/filtered"),
        augmented=Path("data/augmented/train"),
        compared=Path("data/compared"),
        evaluated=Path("data/evaluated"),
        pca=Path("data/pca"),
        tsne=Path("data/tsne"),
        explained=Path("data/explained"),
        metrics=Path("metrics"),
        timings=Path("timings"),
    )
    facts = read_facts(
        folders, params=check_params(), params_text=PARAMS_FILE.read_text(encoding="utf-8")
    )

    page = Path("reports/index.html")
    write_page(page, facts, read_provenance(Path()))
    say(f"  {page}: {page.stat().st_size / 2**20:.1f} MiB; open it in a browser")


if __name__ == "__main__":
    run_stage(main)
