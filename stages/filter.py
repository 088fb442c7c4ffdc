"""Stage `filter`: exclude images of unusual size, and duplicates."""

from pathlib import Path

from classifold.data.exclusions import describe_filter, filter_warnings
from classifold.data.json_file import write_json
from classifold.filtering.files import read_candidates, write_selection
from classifold.filtering.gallery import draw_galleries
from classifold.filtering.limit import limit_images
from classifold.filtering.metrics import selection_metrics
from classifold.filtering.selection import select
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log, warn
from classifold.runtime.stage import run_stage


def main() -> None:
    settings, images_per_class, seed = read_params("filter", "limit.images_per_class", "split.seed")
    ingested = Path("data/ingested")
    images = read_candidates(ingested)

    selection = select(images, **settings)
    selection = limit_images(selection, images_per_class=images_per_class, seed=seed)

    with new_folder(Path("data/filtered")) as folder:
        write_selection(folder, selection)
        draw_galleries(folder, ingested)
    metrics = selection_metrics(selection)
    write_json(Path("metrics/filter.json"), metrics)
    log(f"  {describe_filter(metrics)}")
    warn(filter_warnings(metrics))


if __name__ == "__main__":
    run_stage(main)
