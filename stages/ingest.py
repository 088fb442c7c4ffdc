"""Stage `ingest`: read images of all formats into one table of 8-bit RGB images."""

from pathlib import Path

from classifold.data.exclusions import ingest_warnings
from classifold.data.json_file import write_json
from classifold.ingest.detection import open_source
from classifold.ingest.ingestion import ingest
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log, warn
from classifold.runtime.stage import run_stage


def main() -> None:
    dataset, settings = read_params("dataset", "ingest")

    with (
        new_folder(Path("data/ingested")) as folder,
        open_source(**dataset, scratch=folder) as (tree, source),
    ):
        log(f"  {dataset['path']}: layout {source.layout}, {len(source.images):,} images")
        for remark in source.remarks:
            log(f"  {remark}")
        counts = ingest(tree, source, folder, **settings)

    write_json(Path("metrics/ingest.json"), counts)
    log(
        f"  {counts['n_images']:,} images of {counts['n_classes']} classes, "
        f"{counts['n_unlabelled']:,} unlabeled; {counts['n_converted_to_rgb']:,} converted to "
        f"RGB, {counts['n_turned_upright']:,} turned upright"
    )
    log(
        f"  {counts['n_unreadable']:,} unreadable (data/ingested/unreadable.csv), "
        f"{counts['n_ignored']:,} other files ignored (data/ingested/ignored.csv)"
    )
    warn(ingest_warnings(counts))


if __name__ == "__main__":
    run_stage(main)
