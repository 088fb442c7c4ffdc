"""Stage `split`: assign the kept images to train, validation and test."""

from pathlib import Path

from classifold.data.exclusions import split_warnings
from classifold.data.json_file import write_json
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log, warn
from classifold.runtime.stage import run_stage
from classifold.splitting.files import read_kept, write_splits
from classifold.splitting.splits import assign_splits, split_metrics, used_splits


def main() -> None:
    settings = read_params("split")
    images = read_kept(Path("data/filtered"))

    splits = assign_splits(images, **settings)

    with new_folder(Path("data/split")) as folder:
        write_splits(folder, images, splits)
    metrics = split_metrics(images, splits)
    write_json(Path("metrics/split.json"), metrics)
    log(
        "  images: "
        + ", ".join(f"{metrics[f'n_{split}']:,} {split}" for split in used_splits(splits))
    )
    warn(split_warnings(metrics))


if __name__ == "__main__":
    run_stage(main)
