"""Stage `novelty`: keep features of training images, and find when an image is unlike them."""

from pathlib import Path

from classifold.analysis.features.compute import compute_features
from classifold.analysis.features.training_images import (
    describe_missing_threshold,
    fit_training_images,
    novelty_metrics,
    sample_rows,
    save_training_images,
)
from classifold.data.metrics_file import write_metrics
from classifold.data.pack import Pack, read_pack
from classifold.models.device import choose_device
from classifold.models.explained_model import load_explained_model
from classifold.models.feature_cache import FeatureCache
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    seed, device_name = read_params("explain.seed", "train.device")
    name, model = load_explained_model(Path("data/explained_model"))
    train = read_pack(Path("data/augmented/train")).originals()
    split, held_out = _read_held_out(Path("data/augmented"))
    device = choose_device(device_name)
    cache = FeatureCache.of_project(Path())
    model.use_threads()

    held_out = held_out.subset(sample_rows(len(held_out.ids), seed=seed))
    of_held_out = compute_features(model, held_out.images, device=device, cache=cache)
    n_features = of_held_out.shape[1]
    sample = train.subset(sample_rows(len(train.ids), seed=seed, n_features=n_features))
    features = compute_features(model, sample.images, device=device, cache=cache)
    images = fit_training_images(sample, features, of_held_out, model=name, n_train=len(train.ids))

    with new_folder(Path("data/novelty")) as folder:
        save_training_images(folder, images)
    n_held_out = len(held_out.ids)
    write_metrics(
        Path("metrics/novelty.json"),
        novelty_metrics(images, split=split, n_images=n_held_out),
        reason=describe_missing_threshold(split, n_held_out),
    )


def _read_held_out(packs: Path) -> tuple[str, Pack]:
    """Read images on which no weights were trained, and of a calibration split no epoch chosen."""
    split = "calibration" if (packs / "calibration").is_dir() else "validation"
    return split, read_pack(packs / split)


if __name__ == "__main__":
    run_stage(main)
