"""Stage `split`: share out the kept images to train, validation and test."""

from pathlib import Path

from classifold.folders import new_folder
from classifold.metrics_file import write_json
from classifold.params import read_params
from classifold.progress import say
from classifold.splitting.files import PARTS, read_kept, write_parts
from classifold.splitting.stratified import split_by_class, split_metrics
from classifold.stage import run_stage


def main() -> None:
    settings = read_params("split")
    images = read_kept(Path("data/filtered"))
    labels = [image.label for image in images]
    groups = [image.group for image in images]

    parts = split_by_class(labels, groups, **settings)

    with new_folder(Path("data/split")) as folder:
        write_parts(folder, images, parts)
    metrics = split_metrics(labels, groups, parts, names=PARTS)
    write_json(Path("metrics/split.json"), metrics)
    say("  " + ", ".join(f"{metrics[f'n_{part}']:,} {part}" for part in PARTS))


if __name__ == "__main__":
    run_stage(main)
