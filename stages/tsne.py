"""Stage `tsne`: maps of a sample of training images, by pixels and by a model's features."""

from pathlib import Path

from classifold.analysis.features.compute import compute_features
from classifold.analysis.tsne.embedding import pixels_as_points
from classifold.analysis.tsne.files import write_maps
from classifold.analysis.tsne.maps import (
    describe_small_sample,
    make_maps,
    sample_images,
    tsne_metrics,
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
    settings, device = read_params("tsne", "train.device")
    seed, perplexities = settings["seed"], settings["perplexities"]
    train = read_pack(Path("data/augmented/train")).originals()
    name, model = load_explained_model(Path("data/explained_model"))
    model.use_threads()
    sample = sample_images(
        train.labels,
        n_classes=len(train.classes),
        classes=settings["classes"],
        images_per_class=settings["images_per_class"],
        seed=seed,
    )
    images = train.images[sample.rows]
    reason = describe_small_sample(sample, n_train=len(train.ids))
    maps = {}
    if reason is None:
        features = compute_features(
            model,
            train.subset(sample.rows).images,
            device=choose_device(device),
            cache=FeatureCache.of_project(Path()),
        )
        spaces = {"pixels": pixels_as_points(images), "features": features}
        maps = {
            space: make_maps(points, space=space, perplexities=perplexities, seed=seed)
            for space, points in spaces.items()
        }

    with new_folder(Path("data/tsne")) as folder:
        write_maps(folder, maps, train, sample)
    metrics = {"n_images": len(sample.rows), "model": name}
    metrics |= {space: tsne_metrics(of_space) for space, of_space in maps.items()}
    write_metrics(Path("metrics/tsne.json"), metrics, reason=reason)


if __name__ == "__main__":
    run_stage(main)
