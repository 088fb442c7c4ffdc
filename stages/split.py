"""Stage `split`: share out the kept images to train, validation and test."""

from pathlib import Path

from classifold.data.json_file import write_json
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import say
from classifold.runtime.stage import run_stage
from classifold.splitting.files import read_kept, write_parts
from classifold.splitting.parts import PARTS, assign_parts, split_metrics


def main() -> None:
    settings = read_params("split")
    images = read_kept(Path("data/filtered"))

    parts = assign_parts(images, **settings)

    with new_folder(Path("data/split")) as folder:
        write_parts(folder, images, parts)
    metrics = split_metrics(images, parts)
    write_json(Path("metrics/split.json"), metrics)
    say("  " + ", ".join(f"{metrics[f'n_{part}']:,} {part}" for part in PARTS))


if __name__ == "__main__":
    run_stage(main)
