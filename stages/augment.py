"""Stage `augment`: pack the training images with augmented variants, and others without."""

from pathlib import Path

from classifold.augmentation.offline import n_variants, write_packs
from classifold.data.deep_ranges import read_ranges
from classifold.data.image_table import iter_images
from classifold.data.json_file import write_json
from classifold.data.split_file import read_groups, read_split
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.progress import log
from classifold.runtime.stage import run_stage

SPLITS = ("train", "validation", "calibration")


def main() -> None:
    settings, task = read_params("augment", "dataset.task")
    ingested = Path("data/ingested")
    lists = {split: Path(f"data/split/{split}.csv") for split in SPLITS}
    labels = {split: read_split(path) for split, path in lists.items()}
    if not labels["calibration"]:
        del labels["calibration"]
    groups = {image: group for path in lists.values() for image, group in read_groups(path).items()}
    images = {split: iter_images(ingested, split_labels) for split, split_labels in labels.items()}

    with new_folder(Path("data/augmented")) as folder:
        ranges = read_ranges(ingested)
        write_packs(images, labels, folder, task=task, ranges=ranges, groups=groups, **settings)
        n_bytes = sum(path.stat().st_size for path in folder.glob("*/images.*"))

    variants = n_variants(flips=settings["flips"], warped=settings["warped"])
    metrics = {
        "n_source": len(labels["train"]),
        "n_images": len(labels["train"]) * variants,
        "variants": variants,
        **{f"n_{split}": len(names) for split, names in labels.items() if split != "train"},
        "n_bytes": n_bytes,
    }
    write_json(Path("metrics/augment.json"), metrics)
    with_variants = f", {metrics['n_images']:,} with variants" if variants > 1 else ""
    log(f"  {metrics['n_source']:,} training images{with_variants}")


if __name__ == "__main__":
    run_stage(main)
