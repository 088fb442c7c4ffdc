"""Stage `pca`: principal components of the training images, a color channel at a time."""

from pathlib import Path

from classifold.analysis.pca.components import (
    describe_too_few,
    image_components,
    image_metrics,
    pca_metrics,
    principal_components,
)
from classifold.analysis.pca.files import (
    write_components,
    write_image_components,
    write_reconstruction,
)
from classifold.data.metrics_file import write_metrics
from classifold.data.pack import read_pack
from classifold.params.reader import read_params
from classifold.runtime.atomic_files import new_folder
from classifold.runtime.stage import run_stage


def main() -> None:
    settings = read_params("pca")
    train = read_pack(Path("data/augmented/train")).originals()
    n_images, first = len(train.images), train.images[0]
    reason = describe_too_few(n_images)
    channels = {} if reason else principal_components(train.images, **settings)
    of_first = image_components(first)

    with new_folder(Path("data/pca")) as folder:
        write_components(folder, channels, reason=reason)
        if channels:
            write_reconstruction(folder, channels, first)
        write_image_components(folder, of_first, first)
    metrics = pca_metrics(channels, n_images=n_images)
    metrics["one_image"] = image_metrics(of_first, image_id=train.ids[0])
    write_metrics(Path("metrics/pca.json"), metrics, reason=reason)


if __name__ == "__main__":
    run_stage(main)
