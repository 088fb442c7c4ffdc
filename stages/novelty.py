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
from classifold.data.pack import read_pack
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
    validation = read_pack(Path("data/augmented/validation"))
    device = choose_device(device_name)
    cache = FeatureCache.of_project(Path())
    model.use_threads()

    validation = validation.subset(sample_rows(len(validation.ids), seed=seed))
    of_validation = compute_features(model, validation.images, device=device, cache=cache)
    n_features = of_validation.shape[1]
    sample = train.subset(sample_rows(len(train.ids), seed=seed, n_features=n_features))
    features = compute_features(model, sample.images, device=device, cache=cache)
    images = fit_training_images(
        sample, features, of_validation, model=name, n_train=len(train.ids)
    )

    with new_folder(Path("data/novelty")) as folder:
        save_training_images(folder, images)
    n_validation = len(validation.ids)
    write_metrics(
        Path("metrics/novelty.json"),
        novelty_metrics(images, n_validation=n_validation),
        reason=describe_missing_threshold(n_validation),
    )


if __name__ == "__main__":
    run_stage(main)
