"""Stage `ingest`: read images of every sort into one table of upright 8-bit RGB images."""

from pathlib import Path

from classifold.folders import new_folder
from classifold.metrics_file import write_json
from classifold.params import read_params
from classifold.progress import say
from classifold.sources.folder import find_images
from classifold.sources.ingestion import ingest
from classifold.sources.tree import open_tree
from classifold.stage import run_stage


def main() -> None:
    dataset = read_params("dataset")
    path = Path(dataset["path"])

    with open_tree(path) as tree, new_folder(Path("data/ingested")) as folder:
        source = find_images(tree.names(), where=str(path))
        counts = ingest(tree, source.images, folder)

    write_json(Path("metrics/ingest.json"), {"n_files": source.n_files, **counts})
    say(
        f"  {counts['n_images']:,} images of {counts['n_classes']} classes; "
        f"{counts['n_converted_to_rgb']:,} converted to RGB, {counts['n_unreadable']:,} unreadable "
        "(data/ingested/unreadable.csv)"
    )


if __name__ == "__main__":
    run_stage(main)
